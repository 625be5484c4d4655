/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-guardian: judges the health of hosts and certifies it (docs/man/shieldvm-guardian.8).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/paths.h"
#include "crypto/init.h"
#include "guardian/pkcs11.h"
#include "guardian/setup.h"
#include "guardian/supervise.h"
#include "guardian/transfer.h"

#define LISTEN_HOSTS  "[::]:8787"
#define LISTEN_ADMINS "[::]:8788"
#define BACKLOG	      1024
#define ADDRESS_MAX   256

static const char HELP[] =
	"usage: shieldvm-guardian init [--state DIR] [--db URL] [--release-key URI]\n"
	"                              [--admin PUB.jwk [--admin-name NAME]]\n"
	"       shieldvm-guardian run [--state DIR] [--db URL] [--release-key URI]\n"
	"                             [--listen ADDR:PORT] [--admin-listen ADDR:PORT]\n"
	"                             [--ek-ca FILE]\n"
	"       shieldvm-guardian export FILE --to PUB.jwk [--state DIR] [--tls] [--database]\n"
	"       shieldvm-guardian import FILE --key KEY.jwk [--state DIR]\n"
	"\n"
	"A guardian looks into what hosts measured of themselves and certifies those that are\n"
	"healthy, and releases VM keys to those.\n"
	"  init  makes its keys, its database and a first policy that passes no host, and prints\n"
	"        the addresses that hosts and admins need; safe to repeat\n"
	"  run   serves until SIGTERM\n"
	"  export  seals its keys into a new FILE, which only the key of PUB.jwk opens\n"
	"  import  makes a new state folder of it, for another guardian over the same database, "
	"or\n"
	"        on another machine, and prints the names of the keys to be compared\n"
	"\n"
	"  --state DIR               instead of " PATH_GUARDIAN_STATE "\n"
	"  --db URL                  postgresql://USER@/DATABASE?host=FOLDER,\n"
	"                            postgresql://USER@NAME/DATABASE?hostaddr=NUMBER: a database\n"
	"                            that several guardians share, instead of a file in the "
	"folder\n"
	"  --release-key URI         "
	"pkcs11:token=T;object=O?module-path=/M.so&pin-source=file:/PIN:\n"
	"                            the release key is in an HSM instead of a file in the folder\n"
	"  --admin PUB.jwk           public key of an admin, FILE.pub of shieldvm key new FILE;\n"
	"                            without an admin nobody can approve hosts\n"
	"  --admin-name NAME         his name in the release log, instead of \"admin\"\n"
	"  --listen ADDR:PORT        for hosts, instead of " LISTEN_HOSTS "\n"
	"  --admin-listen ADDR:PORT  for admins, instead of " LISTEN_ADMINS "\n"
	"  --ek-ca FILE              certificates of the TPM makers that are trusted (PEM); "
	"without\n"
	"                            it no host with a TPM can enrol\n"
	"  --to PUB.jwk              public key to seal to, FILE.pub of shieldvm key new FILE\n"
	"  --tls, --database         the TLS key too; the database too, unless it is PostgreSQL's\n"
	"  --key KEY.jwk             private key that opens it\n"
	"Exit status: 0 done, 1 refused, 2 wrong arguments, 3 environment.\n";

struct options {
	const char *state, *db, *release, *admin, *admin_name, *listen, *admin_listen, *ek_ca;
	const char *to, *key, *file; /* FILE: the one argument that is no option */
	int tls, database;
};

static int init(const struct options *o, struct fault *f);
static int run(const struct options *o, struct fault *f);
static int export(const struct options *o, struct fault *f);
static int import(const struct options *o, struct fault *f);

/* A bit for each, of which an option has those that it is for. */
enum { INIT = 1, RUN = 2, EXPORT = 4, IMPORT = 8 };
static const struct command {
	const char *name;
	int bit;
	int (*run)(const struct options *o, struct fault *f);
} COMMANDS[] = {
	{ "init", INIT, init },
	{ "run", RUN, run },
	{ "export", EXPORT, export },
	{ "import", IMPORT, import },
};
#define N_COMMANDS (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static int check(const char *command, int bit, const struct options *o, struct fault *f)
{
	if (o->db && !store_is_url(o->db))
		return fault_set(f, ERR_USAGE, "--db is for postgresql://... (see --help)");
	if (o->release && !pkcs11_is_uri(o->release))
		return fault_set(f, ERR_USAGE, "--release-key is for pkcs11:... (see --help)");
	if (o->state[0] != '/')
		return fault_set(f, ERR_USAGE, "%s: the state folder's path must be absolute",
				 o->state);
	if ((bit & (EXPORT | IMPORT)) && (!o->file || !(bit == EXPORT ? o->to : o->key)))
		return fault_set(f, ERR_USAGE, "%s: a FILE and --%s are needed (see --help)",
				 command, bit == EXPORT ? "to" : "key");
	return 0;
}

/* 1 if help was asked for. */
static int parse(int argc, char **argv, int bit, struct options *o, struct fault *f)
{
	static const struct {
		const char *name;
		int needs_value, commands;
	} ALL[] = {
		{ "state", 1, INIT | RUN | EXPORT | IMPORT },
		{ "db", 1, INIT | RUN },
		{ "release-key", 1, INIT | RUN },
		{ "admin", 1, INIT },
		{ "admin-name", 1, INIT },
		{ "listen", 1, RUN },
		{ "admin-listen", 1, RUN },
		{ "ek-ca", 1, RUN },
		{ "to", 1, EXPORT },
		{ "key", 1, IMPORT },
		{ "tls", 0, EXPORT },
		{ "database", 0, EXPORT },
	};
	enum { N = sizeof(ALL) / sizeof(ALL[0]), FLAGS = N - 2 };
	const char **const values[FLAGS] = { &o->state,	       &o->db,	       &o->release,
					     &o->admin,	       &o->admin_name, &o->listen,
					     &o->admin_listen, &o->ek_ca,      &o->to,
					     &o->key };
	struct option options[N + 2] = { { "help", no_argument, NULL, 'h' } };
	int c;
	for (int i = 0; i < N; i++)
		options[i + 1] = (struct option){ ALL[i].name, ALL[i].needs_value, NULL, i + 256 };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'h')
			return 1;
		if (c < 256 || c >= 256 + N)
			return fault_set(f, ERR_USAGE,
					 "%s: there is no option '%s', or it needs a value (see "
					 "--help)",
					 argv[0], argv[optind - 1]);
		c -= 256;
		if (!(ALL[c].commands & bit)) {
			size_t i = 0;
			while (!(ALL[c].commands & COMMANDS[i].bit))
				i++;
			return fault_set(f, ERR_USAGE, "%s: --%s is for %s only (see --help)",
					 argv[0], ALL[c].name, COMMANDS[i].name);
		}
		if (c < FLAGS)
			*values[c] = optarg;
		else if (c == FLAGS)
			o->tls = 1;
		else
			o->database = 1;
	}
	if (optind < argc && (bit & (EXPORT | IMPORT)))
		o->file = argv[optind++];
	if (optind < argc)
		return fault_set(f, ERR_USAGE, "%s: '%s' is one argument too many (see --help)",
				 argv[0], argv[optind]);
	return check(argv[0], bit, o, f);
}

/* Without what the caller's environment may say; libpq's files are in the state folder. */
static int prepare(const struct options *o, struct fault *f)
{
	int rc = clearenv() == 0 && setenv("HOME", o->state, 1) == 0 ? crypto_init() : -errno;
	umask(077);
	/* A descriptor of the standard ones that is missing would be one of ours. */
	for (int fd = 0; rc >= 0 && fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			rc = -errno;
	return rc < 0 ? fault_set(f, rc, "the program cannot start: %s", err_text(rc)) : 0;
}

static int init(const struct options *o, struct fault *f)
{
	char path[SETUP_PATH_MAX], name[JWK_THUMBPRINT_SIZE], host[HOST_NAME_MAX + 1] = "";
	CLEANUP_JWK struct jwk *key = NULL;
	const struct setup_from from = { .folder = o->state, .db = o->db, .release = o->release };
	int rc = setup_init(&from, o->admin, o->admin_name, (int64_t)time(NULL), f);
	if (rc >= 0)
		rc = setup_path(o->state, SETUP_TLS, path, f);
	if (rc >= 0)
		rc = jwk_read_file(path, 1, &key, f);
	if (rc >= 0)
		rc = jwk_thumbprint(key, name);
	if (rc < 0 || gethostname(host, sizeof(host) - 1) < 0)
		return fault_set(f, rc < 0 ? rc : -errno, "the guardian's key cannot be told");
	printf("\nFor hosts:  https://%s:8787#%s\nFor admins: https://%s:8788#%s\n", host, name,
	       host, name);
	if (fflush(stdout) != 0)
		return fault_set(f, -errno, "standard output: %s", err_text(-errno));
	return 0;
}

/* "ADDR:PORT", "[ADDR]:PORT": a listening socket, or < 0. */
static int listen_at(const char *text, struct fault *f)
{
	const struct addrinfo want = { .ai_family = AF_UNSPEC,
				       .ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
	char host[ADDRESS_MAX];
	struct addrinfo *found = NULL;
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0, skip = text[0] == '[';
	if (n <= 2 * skip || n >= sizeof(host) || (skip && text[n - 1] != ']'))
		return fault_set(f, ERR_USAGE, "%s is not ADDR:PORT", text);
	memcpy(host, text + skip, n - 2 * skip);
	host[n - 2 * skip] = '\0';
	if (getaddrinfo(host, colon + 1, &want, &found) != 0)
		return fault_set(f, ERR_USAGE, "%s is not ADDR:PORT, both as numbers", text);
	int on = 1;
	int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 &&
	    (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	     bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)) {
		int rc = -errno;
		fd_close(&fd);
		errno = -rc;
	}
	int rc = fd < 0 ? fault_set(f, -errno, "%s: %s", text, err_text(-errno)) : fd;
	freeaddrinfo(found);
	return rc;
}

static int run(const struct options *o, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	CLEANUP_FD int hosts = listen_at(o->listen, f);
	if (hosts < 0)
		return hosts;
	CLEANUP_FD int admins = listen_at(o->admin_listen, f);
	if (admins < 0)
		return admins;
	int rc = setup_path(o->state, SETUP_MAC, path, f);
	if (rc < 0)
		return rc;
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return fault_set(f, -ENOENT,
				 "%s: there is no guardian here yet: make one with "
				 "shieldvm-guardian init",
				 o->state);
	const struct supervise s = {
		{ .folder = o->state, .db = o->db, .release = o->release, .ek_ca = o->ek_ca },
		{ hosts, admins }
	};
	log_open(STDERR_FILENO, "shieldvm-guardian", LOG_LEVEL_INFO);
	return supervise_run(&s, f);
}

static struct transfer transfer_of(const struct options *o, const char *key)
{
	return (struct transfer){ .folder = o->state,
				  .file = o->file,
				  .key = key,
				  .tls = o->tls,
				  .database = o->database };
}

static int export(const struct options *o, struct fault *f)
{
	const struct transfer t = transfer_of(o, o->to);
	return transfer_export(&t, f);
}

static int import(const struct options *o, struct fault *f)
{
	const struct transfer t = transfer_of(o, o->key);
	int rc = transfer_import(&t, f);
	if (rc >= 0 && fflush(stdout) != 0)
		rc = fault_set(f, -errno, "standard output: %s", err_text(-errno));
	return rc;
}

int main(int argc, char **argv)
{
	struct options o = { .state = PATH_GUARDIAN_STATE,
			     .admin_name = "admin",
			     .listen = LISTEN_HOSTS,
			     .admin_listen = LISTEN_ADMINS };
	struct fault f = { 0 };
	struct store_ports ports;
	const char *name = argc > 1 ? argv[1] : "";
	const struct command *command = NULL;
	int rc = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(name, COMMANDS[i].name) == 0)
			command = &COMMANDS[i];
	if (command)
		rc = parse(argc - 1, argv + 1, command->bit, &o, &f);
	else if (!rc)
		rc = fault_set(&f, ERR_USAGE,
			       "say what to do: init, run, export or import (see --help)");
	if (rc == 1)
		return fputs(HELP, stdout) < 0 || fflush(stdout) != 0 ? EXIT_ENVIRONMENT
								      : EXIT_DONE;
	if (rc >= 0)
		rc = prepare(&o, &f);
	if (rc >= 0 && o.db)
		rc = store_url_confined(o.db, o.state, &ports, &f);
	if (rc >= 0)
		rc = command->run(&o, &f);
	if (rc >= 0)
		return EXIT_DONE;
	fprintf(stderr, "shieldvm-guardian: %s\n", f.text);
	return (int)err_exit_code(rc);
}
