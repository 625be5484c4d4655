/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of `swtpm socket` (swtpm(8), version 0.7), as far as shieldvm-swtpm has it.
 *
 * Parsing is a pure function of the arguments: nothing is opened here.
 */
#ifndef SHIELDVM_WORKER_SWTPM_OPTS_H
#define SHIELDVM_WORKER_SWTPM_OPTS_H

#include <sys/types.h>

#include "base/err.h"

#define SWTPM_ARG_MAX 4096 /* bytes of one argument */

enum swtpm_action { SWTPM_RUN, SWTPM_HELP, SWTPM_VERSION, SWTPM_CAPABILITIES, SWTPM_STATES };
enum swtpm_startup { STARTUP_NONE, STARTUP_CLEAR, STARTUP_STATE };
enum swtpm_socket_type { SOCKET_NONE, SOCKET_UNIX, SOCKET_TCP };
enum swtpm_key_format { KEY_HEX, KEY_BINARY };
enum swtpm_seccomp { SECCOMP_KILL, SECCOMP_LOG, SECCOMP_NONE };

/* Text belongs to the options; NULL = not given.  Descriptors: -1 = not given. */
struct swtpm_socket {
	enum swtpm_socket_type type;
	char *path;
	int port; /* -1 = not given */
	char *address, *interface;
	int fd;	       /* --ctrl: a listener; --server: a connection */
	int client;    /* --ctrl clientfd= */
	int mode;      /* -1 = not given */
	long uid, gid; /* -1 = not given */
	int disconnect;
};

struct swtpm_key {
	char *file;
	int fd;
	int is_passphrase;
	enum swtpm_key_format format;
	int bytes; /* what mode= asks for: 16 or 32; 0 = either */
	int remove;
};

struct swtpm_options {
	enum swtpm_action action;
	int tpm2, terminate, daemonize;
	char *state_folder;
	struct swtpm_socket ctrl, server;
	struct swtpm_key key, blob_key;
	char *log_file; /* "-" = none */
	int log_fd, log_level, log_truncate;
	char *log_prefix;
	char *pid_file;
	int pid_fd;
	int init; /* --flags not-need-init, or implied */
	enum swtpm_startup startup;
	int reject_locality_4;
	enum swtpm_seccomp seccomp;
	char *user;
};

/*
 * Parse ARGV (argv[0] is the program).  STATE_PATH and PORT stand in for TPM_PATH and TPM_PORT of
 * the environment (NULL = not set).  0, ERR_USAGE, ERR_LIMIT, -ENOMEM with a sentence; *O is to be
 * given to swtpm_options_done() in each case.
 */
int swtpm_options_parse(int argc, char *const *argv, const char *state_path, const char *port,
			struct swtpm_options *o, struct fault *f) MUST_CHECK;
void swtpm_options_done(struct swtpm_options *o);

#endif
