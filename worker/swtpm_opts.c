/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/swtpm_opts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- One option's parts: name[=value],... ---------------------------------------------------- */

enum part_kind {
	PART_TEXT,   /* char *: the value, not empty */
	PART_NUMBER, /* int */
	PART_ID,     /* long: a user's or group's number */
	PART_OCTAL,  /* int: mode bits */
	PART_FLAG,   /* int: 1, without a value */
	PART_BOOL,   /* int: without a value, or true or false */
	PART_WORD,   /* int: the index of the value in `words` */
};

struct part {
	const char *name;
	enum part_kind kind;
	void *out;
	const char *const *words;
};

static int set_text(char **out, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*out);
	*out = copy;
	return 0;
}

static int set_number(const char *value, int base, long max, long *out)
{
	char *end;
	if (value[0] < '0' || value[0] > '9')
		return ERR_USAGE;
	errno = 0;
	long n = strtol(value, &end, base);
	if (errno || *end || n > max)
		return ERR_USAGE;
	*out = n;
	return 0;
}

static int set_word(const char *const *words, const char *value, int *out)
{
	for (int i = 0; words[i]; i++) {
		if (strcmp(words[i], value) == 0) {
			*out = i;
			return 0;
		}
	}
	return ERR_USAGE;
}

static int set_part(const struct part *p, const char *value)
{
	static const char *const BOOLS[] = { "false", "true", NULL };
	long n = 0;
	int rc;
	switch (p->kind) {
	case PART_FLAG:
		*(int *)p->out = 1;
		return value ? ERR_USAGE : 0;
	case PART_BOOL:
		if (!value) {
			*(int *)p->out = 1;
			return 0;
		}
		return set_word(BOOLS, value, p->out);
	case PART_TEXT:
		return value && *value ? set_text(p->out, value) : ERR_USAGE;
	case PART_WORD:
		return value ? set_word(p->words, value, p->out) : ERR_USAGE;
	case PART_NUMBER:
		rc = value ? set_number(value, 10, INT_MAX, &n) : ERR_USAGE;
		if (rc == 0)
			*(int *)p->out = (int)n;
		return rc;
	case PART_ID:
		return value ? set_number(value, 10, UINT_MAX - 1, p->out) : ERR_USAGE;
	case PART_OCTAL:
		rc = value ? set_number(value, 8, 07777, &n) : ERR_USAGE;
		if (rc == 0)
			*(int *)p->out = (int)n;
		return rc;
	}
	return ERR_USAGE;
}

/* Take "name=value,name,..." apart.  OPTION is how the sentence calls it. */
static int parse_parts(const char *option, const char *text, const struct part *parts, size_t n,
		       struct fault *f)
{
	char copy[SWTPM_ARG_MAX];
	snprintf(copy, sizeof(copy), "%s", text);
	char *rest = copy, *one;
	while ((one = strsep(&rest, ","))) {
		char *value = strchr(one, '=');
		size_t i = 0;
		if (value)
			*value++ = 0;
		while (i < n && strcmp(parts[i].name, one) != 0)
			i++;
		if (i == n)
			return fault_set(f, ERR_USAGE, "%s does not know '%s'; see --help", option,
					 one);
		int rc = set_part(&parts[i], value);
		if (rc == ERR_USAGE)
			return fault_set(f, rc,
					 value ? "%s %s: '%s' is not a value for it; see --help"
					       : "%s %s lacks its value; see --help",
					 option, one, value);
		if (rc < 0)
			return fault_set(f, rc, "out of memory");
	}
	return 0;
}

#define PARSE(option, text, parts)                                                                 \
	parse_parts(option, text, parts, sizeof(parts) / sizeof(parts[0]), f)

/* ---- The options ----------------------------------------------------------------------------- */

static int parse_socket(const char *option, int is_ctrl, const char *text, struct swtpm_socket *s,
			struct fault *f)
{
	static const char *const TYPES[] = { "unixio", "tcp", NULL };
	int type = is_ctrl ? -1 : 1; /* swtpm's default for --server */
	int unwanted = -1;
	const struct part parts[] = {
		{ "type", PART_WORD, &type, TYPES },
		{ "path", PART_TEXT, &s->path, NULL },
		{ "port", PART_NUMBER, &s->port, NULL },
		{ "bindaddr", PART_TEXT, &s->address, NULL },
		{ "ifname", PART_TEXT, &s->interface, NULL },
		{ "fd", PART_NUMBER, &s->fd, NULL },
		{ "clientfd", PART_NUMBER, is_ctrl ? &s->client : &unwanted, NULL },
		{ "mode", PART_OCTAL, &s->mode, NULL },
		{ "uid", PART_ID, &s->uid, NULL },
		{ "gid", PART_ID, &s->gid, NULL },
		{ "disconnect", PART_FLAG, is_ctrl ? &unwanted : &s->disconnect, NULL },
	};
	int rc = PARSE(option, text, parts);
	if (rc < 0)
		return rc;
	if (type < 0)
		return fault_set(f, ERR_USAGE, "%s needs type=unixio or type=tcp", option);
	if (unwanted != -1)
		return fault_set(f, ERR_USAGE, "%s has no %s", option,
				 is_ctrl ? "disconnect" : "clientfd");
	s->type = type ? SOCKET_TCP : SOCKET_UNIX;
	int ways = (s->fd >= 0) + (s->client >= 0) + (type ? s->port >= 0 : s->path != NULL);
	if (ways != 1)
		return fault_set(f, ERR_USAGE, "%s needs exactly one of %s%s", option,
				 type ? "port=, fd=" : "path=, fd=", is_ctrl ? ", clientfd=" : "");
	if (type ? s->path != NULL : s->port >= 0 || s->address || s->interface)
		return fault_set(f, ERR_USAGE, "%s: %s", option,
				 type ? "path= is for type=unixio"
				      : "port=, bindaddr= and ifname= are for type=tcp");
	if (s->port > 65535)
		return fault_set(f, ERR_USAGE, "%s: %d is no TCP port", option, s->port);
	return 0;
}

static int parse_key(const char *option, const char *text, struct swtpm_key *k, struct fault *f)
{
	static const char *const FORMATS[] = { "hex", "binary", NULL };
	static const char *const MODES[] = { "aes-cbc", "aes-128-cbc", "aes-256-cbc", NULL };
	static const char *const KDFS[] = { "sha512", "pbkdf2", NULL };
	char *passphrase_file = NULL;
	int passphrase_fd = -1, format = KEY_HEX, mode = -1, kdf = 0;
	const struct part parts[] = {
		{ "file", PART_TEXT, &k->file, NULL },
		{ "fd", PART_NUMBER, &k->fd, NULL },
		{ "pwdfile", PART_TEXT, &passphrase_file, NULL },
		{ "pwdfd", PART_NUMBER, &passphrase_fd, NULL },
		{ "format", PART_WORD, &format, FORMATS },
		{ "mode", PART_WORD, &mode, MODES },
		{ "kdf", PART_WORD, &kdf, KDFS },
		{ "remove", PART_BOOL, &k->remove, NULL },
	};
	int rc = PARSE(option, text, parts);
	int ways =
		(k->file != NULL) + (k->fd >= 0) + (passphrase_file != NULL) + (passphrase_fd >= 0);
	if (rc == 0 && ways != 1)
		rc = fault_set(f, ERR_USAGE,
			       "%s needs exactly one of file=, fd=, pwdfile=, pwdfd=", option);
	k->format = format ? KEY_BINARY : KEY_HEX;
	k->bytes = mode < 0 ? 0 : mode == 2 ? 32 : 16;
	k->is_passphrase = passphrase_file || passphrase_fd >= 0;
	if (k->is_passphrase) {
		free(k->file);
		k->file = passphrase_file;
		k->fd = passphrase_fd;
	}
	return rc;
}

static int parse_state(const char *text, struct swtpm_options *o, struct fault *f)
{
	char *uri = NULL;
	int mode;
	const struct part parts[] = {
		{ "dir", PART_TEXT, &o->state_folder, NULL },
		{ "backend-uri", PART_TEXT, &uri, NULL },
		{ "mode", PART_OCTAL, &mode, NULL }, /* taken, but the file is always 0600 */
	};
	int rc = PARSE("--tpmstate", text, parts);
	if (rc == 0 && !o->state_folder == !uri)
		rc = fault_set(f, ERR_USAGE, "--tpmstate needs exactly one of dir=, backend-uri=");
	if (rc == 0 && uri) {
		if (strncmp(uri, "dir://", 6) != 0 || !uri[6])
			rc = fault_set(f, ERR_USAGE,
				       "--tpmstate backend-uri=%s: the state is kept in a folder; "
				       "give backend-uri=dir://FOLDER",
				       uri);
		else
			rc = set_text(&o->state_folder, uri + 6);
	}
	free(uri);
	return rc;
}

static int parse_flags(const char *text, struct swtpm_options *o, struct fault *f)
{
	int clear = 0, state = 0, none = 0, deactivated = 0;
	const struct part parts[] = {
		{ "not-need-init", PART_FLAG, &o->init, NULL },
		{ "startup-clear", PART_FLAG, &clear, NULL },
		{ "startup-state", PART_FLAG, &state, NULL },
		{ "startup-none", PART_FLAG, &none, NULL },
		{ "startup-deactivated", PART_FLAG, &deactivated, NULL },
	};
	int rc = PARSE("--flags", text, parts);
	if (rc < 0)
		return rc;
	if (deactivated)
		return fault_set(f, ERR_USAGE,
				 "--flags startup-deactivated is for a TPM 1.2, which this is not");
	if (clear + state + none > 1)
		return fault_set(f, ERR_USAGE, "--flags takes one of the startup-... flags");
	o->startup = clear ? STARTUP_CLEAR : state ? STARTUP_STATE : STARTUP_NONE;
	if (clear || state)
		o->init = 1;
	return 0;
}

static int parse_small(const char *name, const char *text, struct swtpm_options *o, struct fault *f)
{
	static const char *const ACTIONS[] = { "kill", "log", "none", NULL };
	int action = SECCOMP_KILL, set_locality = 0, n;
	const struct part log[] = {
		{ "file", PART_TEXT, &o->log_file, NULL },
		{ "fd", PART_NUMBER, &o->log_fd, NULL },
		{ "level", PART_NUMBER, &o->log_level, NULL },
		{ "prefix", PART_TEXT, &o->log_prefix, NULL },
		{ "truncate", PART_FLAG, &o->log_truncate, NULL },
	};
	const struct part pid[] = {
		{ "file", PART_TEXT, &o->pid_file, NULL },
		{ "fd", PART_NUMBER, &o->pid_fd, NULL },
	};
	const struct part locality[] = {
		{ "reject-locality-4", PART_FLAG, &o->reject_locality_4, NULL },
		{ "allow-set-locality", PART_FLAG, &set_locality, NULL },
	};
	const struct part seccomp[] = { { "action", PART_WORD, &action, ACTIONS } };
	if (strcmp(name, "--log") == 0) {
		int rc = PARSE(name, text, log);
		if (rc == 0 && !o->log_file == (o->log_fd < 0))
			rc = fault_set(f, ERR_USAGE, "--log needs exactly one of file=, fd=");
		return rc;
	}
	if (strcmp(name, "--pid") == 0) {
		int rc = PARSE(name, text, pid);
		if (rc == 0 && !o->pid_file == (o->pid_fd < 0))
			rc = fault_set(f, ERR_USAGE, "--pid needs exactly one of file=, fd=");
		return rc;
	}
	if (strcmp(name, "--locality") == 0) {
		n = PARSE(name, text, locality);
		if (n == 0 && set_locality)
			n = fault_set(
				f, ERR_USAGE,
				"--locality allow-set-locality is not to be had: the locality "
				"is set on the control channel only");
		return n;
	}
	n = PARSE(name, text, seccomp);
	o->seccomp = action == 1 ? SECCOMP_LOG : action == 2 ? SECCOMP_NONE : SECCOMP_KILL;
	return n;
}

/* -p, --port and -f, --fd: the older ways to say --server. */
static int old_server(const char *name, const char *text, int port, struct swtpm_options *o,
		      struct fault *f)
{
	long n;
	if (set_number(text, 10, port ? 65535 : INT_MAX, &n) < 0)
		return fault_set(f, ERR_USAGE, "%s: '%s' is not a value for it; see --help", name,
				 text);
	if (o->server.type != SOCKET_NONE)
		return fault_set(f, ERR_USAGE, "%s beside another --server, --port or --fd", name);
	o->server.type = SOCKET_TCP;
	if (port)
		o->server.port = (int)n;
	else
		o->server.fd = (int)n;
	o->terminate |= !port;
	return 0;
}

enum id {
	TPM2,
	TERMINATE,
	DAEMON,
	HELP,
	VERSION,
	CAPABILITIES,
	STATES,
	PORT,
	FD,
	CTRL,
	SERVER,
	KEY,
	BLOB_KEY,
	STATE,
	FLAGS,
	LOCALITY,
	PID,
	LOG,
	SECCOMP,
	RUNAS,
	N_IDS
};

static const struct {
	const char *name;
	char letter;
	int has_value;
} OPTIONS[] = {
	[TPM2] = { "--tpm2", 0, 0 },
	[TERMINATE] = { "--terminate", 't', 0 },
	[DAEMON] = { "--daemon", 'd', 0 },
	[HELP] = { "--help", 'h', 0 },
	[VERSION] = { "--version", 'v', 0 },
	[CAPABILITIES] = { "--print-capabilities", 0, 0 },
	[STATES] = { "--print-states", 0, 0 },
	[PORT] = { "--port", 'p', 1 },
	[FD] = { "--fd", 'f', 1 },
	[CTRL] = { "--ctrl", 0, 1 },
	[SERVER] = { "--server", 0, 1 },
	[KEY] = { "--key", 0, 1 },
	[BLOB_KEY] = { "--migration-key", 0, 1 },
	[STATE] = { "--tpmstate", 0, 1 },
	[FLAGS] = { "--flags", 0, 1 },
	[LOCALITY] = { "--locality", 0, 1 },
	[PID] = { "--pid", 0, 1 },
	[LOG] = { "--log", 0, 1 },
	[SECCOMP] = { "--seccomp", 0, 1 },
	[RUNAS] = { "--runas", 'r', 1 },
};
_Static_assert(sizeof(OPTIONS) / sizeof(OPTIONS[0]) == N_IDS, "a row per option");

static int apply(enum id id, const char *value, struct swtpm_options *o, struct fault *f)
{
	const char *name = OPTIONS[id].name;
	switch (id) {
	case TPM2:
		o->tpm2 = 1;
		return 0;
	case TERMINATE:
		o->terminate = 1;
		return 0;
	case DAEMON:
		o->daemonize = 1;
		return 0;
	case HELP:
		o->action = SWTPM_HELP;
		return 0;
	case VERSION:
		o->action = SWTPM_VERSION;
		return 0;
	case CAPABILITIES:
		o->action = SWTPM_CAPABILITIES;
		return 0;
	case STATES:
		o->action = SWTPM_STATES;
		return 0;
	case PORT:
		return old_server(name, value, 1, o, f);
	case FD:
		return old_server(name, value, 0, o, f);
	case CTRL:
		return parse_socket(name, 1, value, &o->ctrl, f);
	case SERVER:
		return parse_socket(name, 0, value, &o->server, f);
	case KEY:
		return parse_key(name, value, &o->key, f);
	case BLOB_KEY:
		return parse_key(name, value, &o->blob_key, f);
	case STATE:
		return parse_state(value, o, f);
	case FLAGS:
		return parse_flags(value, o, f);
	case LOCALITY:
	case PID:
	case LOG:
	case SECCOMP:
		return parse_small(name, value, o, f);
	case RUNAS:
		return set_text(&o->user, value);
	case N_IDS:
		break;
	}
	return ERR_USAGE;
}

/* What is missing, or does not go together. */
static int check(struct swtpm_options *o, const char *state_path, const char *port, struct fault *f)
{
	if (o->action == SWTPM_HELP || o->action == SWTPM_VERSION ||
	    o->action == SWTPM_CAPABILITIES)
		return 0;
	if (!o->tpm2)
		return fault_set(f, ERR_USAGE,
				 "this is a TPM 2.0 only: give --tpm2 (there is no TPM 1.2)");
	if (!o->state_folder && state_path && set_text(&o->state_folder, state_path) < 0)
		return fault_set(f, -ENOMEM, "out of memory");
	if (!o->state_folder)
		return fault_set(f, ERR_USAGE,
				 "give the folder for the TPM's state: --tpmstate dir=FOLDER");
	if (o->action == SWTPM_STATES)
		return 0;
	if (o->server.type == SOCKET_NONE && o->ctrl.type == SOCKET_NONE) {
		if (!port)
			return fault_set(f, ERR_USAGE,
					 "give a way in: --ctrl or --server (or both); see --help");
		return old_server("TPM_PORT", port, 1, o, f);
	}
	return 0;
}

int swtpm_options_parse(int argc, char *const *argv, const char *state_path, const char *port,
			struct swtpm_options *o, struct fault *f)
{
	const struct swtpm_socket no_socket = {
		.port = -1, .fd = -1, .client = -1, .mode = -1, .uid = -1, .gid = -1
	};
	unsigned int seen = 0;
	*o = (struct swtpm_options){
		.ctrl = no_socket, .server = no_socket, .log_fd = -1, .pid_fd = -1, .log_level = -1
	};
	o->key.fd = o->blob_key.fd = -1;
	if (argc < 2)
		return fault_set(f, ERR_USAGE, "give the interface: shieldvm-swtpm socket ...");
	int first = 1;
	if (strcmp(argv[1], "socket") == 0)
		first = 2;
	else if (strcmp(argv[1], "chardev") == 0 || strcmp(argv[1], "cuse") == 0)
		return fault_set(f, ERR_USAGE,
				 "the interface '%s' is not to be had; use: shieldvm-swtpm socket",
				 argv[1]);
	else if (argv[1][0] != '-')
		return fault_set(f, ERR_USAGE, "'%s' is no interface; use: shieldvm-swtpm socket",
				 argv[1]);
	for (int i = first; i < argc; i++) {
		const char *arg = argv[i], *value = NULL;
		if (strlen(arg) >= SWTPM_ARG_MAX)
			return fault_set(f, ERR_LIMIT, "an argument of more than %d bytes",
					 SWTPM_ARG_MAX - 1);
		enum id id = 0;
		for (; id < N_IDS; id++) {
			size_t n = strlen(OPTIONS[id].name);
			if (arg[0] == '-' && arg[1] && arg[1] == OPTIONS[id].letter) {
				value = arg[2] ? arg + 2 : NULL;
				break;
			}
			if (strncmp(arg, OPTIONS[id].name, n) == 0 && (!arg[n] || arg[n] == '=')) {
				value = arg[n] ? arg + n + 1 : NULL;
				break;
			}
		}
		if (id == N_IDS || (value && !OPTIONS[id].has_value))
			return fault_set(f, ERR_USAGE, "'%.200s' is no option of this; see --help",
					 arg);
		if (OPTIONS[id].has_value && !value) {
			if (++i == argc)
				return fault_set(f, ERR_USAGE, "%s lacks its value; see --help",
						 arg);
			value = argv[i];
			if (strlen(value) >= SWTPM_ARG_MAX)
				return fault_set(f, ERR_LIMIT, "an argument of more than %d bytes",
						 SWTPM_ARG_MAX - 1);
		}
		if (OPTIONS[id].has_value && (seen & 1U << id))
			return fault_set(f, ERR_USAGE, "%s is given twice", OPTIONS[id].name);
		seen |= 1U << id;
		int rc = apply(id, value, o, f);
		if (rc < 0)
			return fault_set(f, rc, "%s: %s", OPTIONS[id].name, err_text(rc));
	}
	if (first == 1 && o->action == SWTPM_RUN)
		return fault_set(f, ERR_USAGE, "give the interface: shieldvm-swtpm socket ...");
	return check(o, state_path, port, f);
}

static void socket_done(struct swtpm_socket *s)
{
	free(s->path);
	free(s->address);
	free(s->interface);
}

void swtpm_options_done(struct swtpm_options *o)
{
	socket_done(&o->ctrl);
	socket_done(&o->server);
	free(o->state_folder);
	free(o->key.file);
	free(o->blob_key.file);
	free(o->log_file);
	free(o->log_prefix);
	free(o->pid_file);
	free(o->user);
	*o = (struct swtpm_options){ 0 };
}
