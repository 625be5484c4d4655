/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/postgres_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_TRIES 600 /* times 50 ms */

static char root[64], bin[256], address[160];
static pid_t server, maker;
static uid_t uid;
static gid_t gid;

static void die(const char *what)
{
	fprintf(stderr, "postgres_bed: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Start the one of PostgreSQL's programs that ARGV begins with; it ends with this process. */
static pid_t spawn(char *argv[])
{
	char path[320];
	snprintf(path, sizeof(path), "%s/%s", bin, argv[0]);
	fflush(NULL);
	pid_t parent = getpid(), pid = fork();
	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	int log = -1;
	/* PostgreSQL does not run as root. */
	if (chdir(root) < 0 || (log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0666)) < 0 ||
	    dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
	    (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0)) ||
	    setenv("LC_ALL", "C", 1) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
	    getppid() != parent)
		_exit(1);
	argv[0] = path; /* they look for their neighbours there */
	execv(path, argv);
	_exit(1);
}

static void find_it(void)
{
	glob_t found;
	if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) == 0) {
		snprintf(bin, sizeof(bin), "%s", found.gl_pathv[found.gl_pathc - 1]);
		*strrchr(bin, '/') = 0;
		globfree(&found);
		return;
	}
	const char *must = getenv("MUST_WORK");
	fprintf(stderr, "PostgreSQL is not installed\n");
	exit(must && strcmp(must, "1") == 0 ? 1 : 77);
}

static PGconn *superuser(void)
{
	PGconn *c = PQconnectdb(address);
	if (PQstatus(c) == CONNECTION_OK)
		return c;
	PQfinish(c);
	return NULL;
}

void postgres_bed_start(void)
{
	char sockets[96];
	snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", root);
	char *argv[] = { "postgres",	       "-D", "data",  "-c",
			 "listen_addresses=",  "-c", sockets, "-c",
			 "max_connections=20", NULL };
	server = 0;
	for (int i = 0; i < START_TRIES; i++) {
		/* Right after a kill it may find its former self's memory in use. */
		if (server == 0 || waitpid(server, NULL, WNOHANG) == server)
			server = spawn(argv);
		PGconn *c = superuser();
		if (c) {
			PQfinish(c);
			return;
		}
		usleep(50000);
	}
	die("the server does not start");
}

/* The processes that serve guardians, which are no children of ours. */
struct sessions {
	int n;
	pid_t pids[64];
};

static struct sessions sessions(void)
{
	struct sessions they = { .n = 0 };
	PGconn *c = superuser();
	PGresult *r = PQexec(c, "SELECT pid FROM pg_stat_activity WHERE "
				"application_name = 'shieldvm-guardian'");
	for (; they.n < PQntuples(r) && they.n < 64; they.n++)
		they.pids[they.n] = (pid_t)atoi(PQgetvalue(r, they.n, 0));
	PQclear(r);
	PQfinish(c);
	return they;
}

static void tell(const struct sessions *they, int signal)
{
	for (int i = 0; i < they->n; i++)
		kill(they->pids[i], signal);
}

/* And its sessions: by themselves they may serve another statement before they miss it. */
void postgres_bed_kill(void)
{
	struct sessions they = sessions();
	kill(server, SIGKILL);
	tell(&they, SIGKILL);
	waitpid(server, NULL, 0);
	server = 0;
}

static void end(void)
{
	if (getpid() != maker)
		return;
	if (server > 0) {
		/* Fast shutdown: all its processes are gone when it is. */
		kill(server, SIGINT);
		for (int i = 0; i < 200 && waitpid(server, NULL, WNOHANG) == 0; i++) {
			if (i == 190)
				kill(server, SIGQUIT);
			usleep(50000);
		}
	}
	char line[128];
	snprintf(line, sizeof(line), "rm -rf %s", root);
	if (system(line) != 0)
		fprintf(stderr, "postgres_bed: %s stays\n", root);
}

static void make(void)
{
	int status;
	find_it();
	snprintf(root, sizeof(root), "/tmp/shieldvm-postgres-XXXXXX");
	if (!mkdtemp(root))
		die("mkdtemp");
	maker = getpid();
	atexit(end);
	const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : getpwuid(geteuid());
	if (!user)
		die("no user postgres");
	uid = user->pw_uid;
	gid = user->pw_gid;
	if (geteuid() == 0 && chown(root, uid, gid) < 0)
		die("chown");
	snprintf(address, sizeof(address), "postgresql:///postgres?host=%s&user=guardian", root);
	char *argv[] = { "initdb",	    "-D",	  "data",     "-A",
			 "trust",	    "-U",	  "guardian", "--no-sync",
			 "--encoding=UTF8", "--locale=C", NULL };
	pid_t pid = spawn(argv);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("initdb");
	postgres_bed_start();
}

void postgres_bed_fresh(char *url, size_t size)
{
	if (!root[0])
		make();
	else if (server == 0)
		postgres_bed_start();
	const char *said = postgres_bed_raw("DROP SCHEMA IF EXISTS shieldvm_guardian CASCADE");
	if (said[0]) {
		fprintf(stderr, "%s\n", said);
		exit(1);
	}
	snprintf(url, size, "%s", address);
}

void postgres_bed_freeze(int frozen)
{
	static struct sessions they;
	if (frozen)
		they = sessions();
	tell(&they, frozen ? SIGSTOP : SIGCONT);
}

const char *postgres_bed_raw(const char *sql)
{
	static char said[512];
	char text[2048], *to = text;
	for (const char *at = sql; *at && to < text + sizeof(text) - 4; at++) {
		if (at[0] == 'x' && at[1] == '\'' && at > sql && strchr(" (,=", at[-1])) {
			*to++ = '\'';
			*to++ = '\\';
			*to++ = 'x';
			at++;
		} else {
			*to++ = *at;
		}
	}
	*to = 0;
	PGconn *c = superuser();
	if (!c)
		die("cannot connect");
	PQsetnonblocking(c, 0);
	PQclear(PQexec(c, "SET client_min_messages = error"));
	PQclear(PQexec(c, "SET search_path = pg_catalog, shieldvm_guardian"));
	PGresult *r = PQexec(c, text);
	snprintf(said, sizeof(said), "%s",
		 PQresultStatus(r) == PGRES_FATAL_ERROR ? PQresultErrorMessage(r) : "");
	PQclear(r);
	PQfinish(c);
	return said;
}
