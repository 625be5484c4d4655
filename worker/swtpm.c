/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-swtpm: the vTPM behind swtpm's command line (docs/man/shieldvm-swtpm.8).
 *
 * main() goes through the same steps as the worker's: open everything, load the keys and the state,
 * seal, serve.  The steps are fewer, as this program is started by whoever starts swtpm, with that
 * one's rights, and ends with its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/paths.h"
#include "sandbox/filter.h"
#include "sandbox/phases.h"
#include "worker/ctrl.h"
#include "worker/swtpm_key.h"
#include "worker/swtpm_net.h"
#include "worker/swtpm_state.h"

#define LOG_MODE 0640
#define PID_MODE 0644

struct swtpm {
	const struct swtpm_options *o;
	struct swtpm_state *state;
	struct vtpm *vtpm;
	struct data *data;
	int ctrl_listener;
	struct ctrl *ctrl;
	int signals;
	int log;
	int ready;    /* the end of a pipe: the process that was started waits for a byte */
	int terminal; /* where a failure to start is said, besides the log */
	int made_ctrl, made_server, made_pid_file; /* files to remove at the end */
};

/* ---- Starting -------------------------------------------------------------------------------- */

/* Give up root for --runas. */
static int become(const char *name, struct fault *f)
{
	const struct passwd *user = getpwnam(name);
	if (!user)
		return fault_set(f, ERR_USAGE, "--runas: there is no user '%s'", name);
	if (initgroups(user->pw_name, user->pw_gid) < 0 || setgid(user->pw_gid) < 0 ||
	    setuid(user->pw_uid) < 0)
		return fault_set(f, -errno, "--runas: this process cannot become '%s': %s", name,
				 err_text(-errno));
	return 0;
}

/*
 * --daemon: the first process waits until its child is ready or has failed, and ends with its exit
 * code; the child returns.  Before there is any thread.
 */
static int daemonize(struct swtpm *s, struct fault *f)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fault_set(f, -errno, "--daemon: %s", err_text(-errno));
	pid_t pid = fork();
	if (pid < 0)
		return fault_set(f, -errno, "--daemon: %s", err_text(-errno));
	if (pid > 0) {
		uint8_t code = EXIT_ENVIRONMENT;
		close(ends[1]);
		/* An end without a word is a crash; the code stands for that already. */
		if (read(ends[0], &code, 1) < 0)
			code = EXIT_ENVIRONMENT;
		_exit(code);
	}
	close(ends[0]);
	s->ready = ends[1];
	(void)setsid();
	return 0;
}

static void tell_parent(struct swtpm *s, int code)
{
	uint8_t byte = (uint8_t)code;
	if (s->ready >= 0 && write(s->ready, &byte, 1) != 1)
		log_warning("the process that started this one has gone");
	fd_close(&s->ready);
}

static int open_log(struct swtpm *s, struct fault *f)
{
	const struct swtpm_options *o = s->o;
	static const enum log_level LEVELS[] = { LOG_LEVEL_ERROR, LOG_LEVEL_INFO, LOG_LEVEL_INFO,
						 LOG_LEVEL_INFO,  LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
	s->log = STDERR_FILENO;
	if (o->log_fd >= 0) {
		s->log = o->log_fd;
	} else if (o->log_file && strcmp(o->log_file, "-") == 0) {
		s->log = -1;
	} else if (o->log_file) {
		s->log = open(o->log_file,
			      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY |
				      (o->log_truncate ? O_TRUNC : 0),
			      LOG_MODE);
		if (s->log < 0)
			return fault_set(f, -errno, "--log: '%s' cannot be opened: %s", o->log_file,
					 err_text(-errno));
	}
	log_open(s->log, o->log_prefix ? o->log_prefix : "shieldvm-swtpm",
		 o->log_level < 0 ? LOG_LEVEL_INFO : LEVELS[o->log_level > 5 ? 5 : o->log_level]);
	return 0;
}

static int write_pid(struct swtpm *s, struct fault *f)
{
	const struct swtpm_options *o = s->o;
	char text[32];
	CLEANUP_FD int fd = o->pid_fd;
	if (o->pid_file)
		fd = open(o->pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY,
			  PID_MODE);
	else if (fd < 0)
		return 0;
	int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	int rc = fd < 0 ? -errno : fd_write_full(fd, text, (size_t)n);
	if (rc < 0)
		return fault_set(f, rc, "--pid: '%s' cannot be written: %s",
				 o->pid_file ? o->pid_file : "fd", err_text(rc));
	s->made_pid_file = o->pid_file != NULL;
	return 0;
}

static int open_sockets(struct swtpm *s, int *server_listener, struct fault *f)
{
	const struct swtpm_options *o = s->o;
	int rc = 0;
	if (o->ctrl.client >= 0) {
		rc = swtpm_check_socket("--ctrl", o->ctrl.client, 0, f);
	} else if (o->ctrl.type != SOCKET_NONE) {
		rc = s->ctrl_listener = swtpm_listen("--ctrl", &o->ctrl, 1, f);
		s->made_ctrl = rc >= 0 && o->ctrl.path;
	}
	if (rc < 0 || o->server.type == SOCKET_NONE)
		return rc;
	if (o->server.fd < 0) {
		*server_listener = swtpm_listen("--server", &o->server, 0, f);
		s->made_server = *server_listener >= 0 && o->server.path;
		return *server_listener;
	}
	return swtpm_check_socket("--server", o->server.fd, 0, f);
}

static int take_ctrl(struct swtpm *s, int fd)
{
	const struct ctrl_config config = { .vtpm = s->vtpm,
					    .data = s->data,
					    .reject_locality_4 = s->o->reject_locality_4 };
	int rc = ctrl_new(&config, fd, &s->ctrl);
	if (rc < 0)
		close(fd);
	return rc;
}

/* Give the vTPM its channels.  SERVER_LISTENER is taken over. */
static int attach(struct swtpm *s, int server_listener, struct fault *f)
{
	const struct swtpm_options *o = s->o;
	int rc = data_new(s->vtpm, &s->data, f);
	if (rc < 0)
		return rc;
	if (server_listener >= 0)
		rc = data_serve(s->data, server_listener, o->server.disconnect);
	else if (o->server.fd >= 0)
		rc = data_start(s->data, o->server.fd);
	if (rc >= 0 && o->ctrl.client >= 0)
		rc = take_ctrl(s, o->ctrl.client);
	return rc < 0 ? fault_set(f, rc, "the channels cannot be served: %s", err_text(rc)) : 0;
}

/* --flags: what is done without being asked for on the control channel. */
static int start_vtpm(struct swtpm *s, struct fault *f)
{
	uint8_t command[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0 };
	uint8_t reply[VTPM_BUFFER_MAX];
	size_t n;
	if (!s->o->init)
		return 0;
	int rc = vtpm_init(s->vtpm, f);
	if (rc < 0 || s->o->startup == STARTUP_NONE)
		return rc;
	command[11] = s->o->startup == STARTUP_STATE; /* TPM_SU_STATE */
	vtpm_command(s->vtpm, command, sizeof(command), reply, &n);
	if (memcmp(reply + 6, (const uint8_t[4]){ 0 }, 4) != 0)
		return fault_set(
			f, ERR_STATE,
			"--flags: TPM2_Startup was answered with %#x; startup-state needs a "
			"TPM that was shut down with its state saved",
			(unsigned int)(reply[8] << 8 | reply[9]));
	return 0;
}

/* From here on nothing is opened any more. */
static int seal(struct swtpm *s, struct fault *f)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fault_set(f, -errno, "PR_SET_NO_NEW_PRIVS: %s", err_text(-errno));
	switch (s->o->seccomp) {
	case SECCOMP_KILL:
		return filter_load(&filter_swtpm, f);
	case SECCOMP_LOG:
		return filter_load_logging(&filter_swtpm, f);
	case SECCOMP_NONE:
		log_warning("--seccomp action=none: this process may make any system call");
		break;
	}
	return 0;
}

/* --daemon: from here on what is written to the terminal is lost, except through s->terminal. */
static int leave_terminal(struct swtpm *s, struct fault *f)
{
	if (!s->o->daemonize)
		return 0;
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
	s->terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		return fault_set(f, -errno, "/dev/null: %s", err_text(-errno));
	return 0;
}

static int watch_signals(struct swtpm *s, struct fault *f)
{
	const struct rlimit none = { 0 };
	sigset_t set;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	/* One heap for all threads: see phases_early(). */
	if (s->signals < 0 || mallopt(M_ARENA_MAX, 1) != 1 || setrlimit(RLIMIT_CORE, &none) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fault_set(f, -errno, "this process cannot be set up: %s", err_text(-errno));
	return 0;
}

static int start(struct swtpm *s, struct fault *f)
{
	const struct swtpm_options *o = s->o;
	int server_listener = -1;
	int rc = o->user ? become(o->user, f) : 0;
	if (rc >= 0)
		rc = watch_signals(s, f);
	if (rc >= 0)
		rc = open_log(s, f);
	/* The state's lock first: the sockets of a process that has it are not replaced. */
	if (rc >= 0)
		rc = swtpm_state_open(o, &s->state, &s->vtpm, f);
	if (rc >= 0)
		rc = open_sockets(s, &server_listener, f);
	if (rc >= 0)
		rc = start_vtpm(s, f);
	if (rc >= 0)
		rc = attach(s, server_listener, f);
	if (rc >= 0)
		rc = write_pid(s, f);
	if (rc >= 0)
		rc = leave_terminal(s, f);
	if (rc >= 0)
		rc = seal(s, f);
	return rc;
}

/* ---- Serving --------------------------------------------------------------------------------- */

static int anybody_can_come(const struct swtpm *s)
{
	return s->ctrl_listener >= 0 || s->ctrl || data_busy(s->data);
}

/* Do what SLOTS say; 0 to go on, 1 to end. */
static int turn(struct swtpm *s, const struct pollfd slots[static 3])
{
	uint64_t events;
	if (slots[0].revents)
		return 1;
	if (slots[1].revents && read(slots[1].fd, &events, sizeof(events)) > 0) {
		log_debug("a client of the data channel has gone");
		if (s->o->terminate)
			return 1;
	}
	if (!s->ctrl && slots[2].revents) {
		int fd = accept4(s->ctrl_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 && take_ctrl(s, fd) < 0)
			log_warning("a client of the control channel was turned away");
	} else if (s->ctrl) {
		switch (ctrl_step(s->ctrl)) {
		case CTRL_OPEN:
			break;
		case CTRL_SHUTDOWN_ASKED:
			return 1;
		case CTRL_CLOSED:
			ctrl_free(s->ctrl);
			s->ctrl = NULL;
			break;
		}
	}
	return !anybody_can_come(s);
}

static int serve(struct swtpm *s)
{
	for (;;) {
		struct pollfd slots[3] = { { s->signals, POLLIN, 0 },
					   { data_event_fd(s->data), POLLIN, 0 },
					   { s->ctrl_listener, POLLIN, 0 } };
		if (s->ctrl)
			slots[2] = (struct pollfd){ ctrl_fd(s->ctrl), ctrl_events(s->ctrl), 0 };
		int n = poll(slots, 3, s->ctrl ? ctrl_timeout_ms(s->ctrl) : -1);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n >= 0 && turn(s, slots))
			return 0;
	}
}

/* Also after a start that failed half way. */
static void stop(struct swtpm *s)
{
	const struct swtpm_options *o = s->o;
	if (s->vtpm) {
		vtpm_cancel(s->vtpm); /* a key generation must not hold up the end */
		vtpm_stop(s->vtpm);
	}
	ctrl_free(s->ctrl);
	data_free(s->data);
	vtpm_free(s->vtpm);
	swtpm_state_free(s->state);
	if (s->made_ctrl)
		(void)unlink(o->ctrl.path);
	if (s->made_server)
		(void)unlink(o->server.path);
	if (s->made_pid_file)
		(void)unlink(o->pid_file);
}

static int run(const struct swtpm_options *o)
{
	struct swtpm s = { .o = o,
			   .ctrl_listener = -1,
			   .signals = -1,
			   .log = -1,
			   .ready = -1,
			   .terminal = STDERR_FILENO };
	struct fault f = { 0 };
	int rc = o->daemonize ? daemonize(&s, &f) : 0;
	if (rc >= 0)
		rc = start(&s, &f);
	if (rc < 0) {
		const char *why = f.text[0] ? f.text : err_text(rc);
		if (s.log != STDERR_FILENO)
			log_error("%s", why);
		dprintf(s.terminal, "shieldvm-swtpm: %s\n", why);
		stop(&s);
		tell_parent(&s, (int)err_exit_code(rc));
		return (int)err_exit_code(rc);
	}
	tell_parent(&s, EXIT_DONE);
	if (o->daemonize)
		fd_close(&s.terminal);
	rc = serve(&s);
	if (rc < 0)
		log_error("the channels cannot be served any more: %s", err_text(rc));
	stop(&s);
	return (int)err_exit_code(rc);
}

/* ---- Saying what this is --------------------------------------------------------------------- */

static int print_capabilities(const struct swtpm_options *o)
{
	printf("{ \"type\": \"swtpm\", \"features\": [ \"tpm-2.0\", \"flags-opt-startup\", "
	       "\"cmdarg-seccomp\", \"cmdarg-key-fd\", \"cmdarg-pwd-fd\", "
	       "\"cmdarg-print-states\", \"nvram-backend-dir\"%s ], \"version\": \"%s\" }\n",
	       o->tpm2 ? ", \"rsa-keysize-2048\", \"rsa-keysize-3072\"" : "", SHIELDVM_VERSION);
	return EXIT_DONE;
}

static const char HELP[] =
	"Usage: shieldvm-swtpm socket --tpm2 --tpmstate dir=FOLDER [option ...]\n"
	"A TPM 2.0 behind swtpm's command line; see shieldvm-swtpm(8).\n\n"
	"  --tpmstate dir=FOLDER | backend-uri=dir://FOLDER\n"
	"  --ctrl type=unixio,path=|fd=|clientfd=[,mode=0..][,uid=][,gid=]\n"
	"  --ctrl type=tcp,port=[,bindaddr=[,ifname=]]|fd=|clientfd=\n"
	"  --server [type=tcp],port=[,bindaddr=[,ifname=]]|fd=[,disconnect]\n"
	"  --server type=unixio,path=|fd=[,mode=0..][,uid=][,gid=][,disconnect]\n"
	"  -p|--port PORT, -f|--fd FD      older ways to say --server\n"
	"  --key file=|fd=[,format=hex|binary][,mode=aes-cbc|aes-256-cbc][,remove[=true|false]]\n"
	"  --key pwdfile=|pwdfd=[,kdf=pbkdf2|sha512][,remove[=true|false]]\n"
	"  --migration-key ...             as --key, for state blobs\n"
	"  --flags [not-need-init][,startup-clear|startup-state|startup-none]\n"
	"  --locality reject-locality-4\n"
	"  --log file=|fd=[,level=N][,prefix=TEXT][,truncate]\n"
	"  --pid file=|fd=\n"
	"  --seccomp action=kill|log|none\n"
	"  -t|--terminate                  end when a client of the data channel has gone\n"
	"  -d|--daemon, -r|--runas USER\n"
	"  --print-capabilities, --print-states, -v|--version, -h|--help\n";

int main(int argc, char **argv)
{
	struct swtpm_options o CLEANUP(swtpm_options_done) = { 0 };
	struct fault f = { 0 };
	int rc = swtpm_options_parse(argc, argv, getenv("TPM_PATH"), getenv("TPM_PORT"), &o, &f);
	if (rc < 0) {
		fprintf(stderr, "shieldvm-swtpm: %s\n", f.text);
		return (int)err_exit_code(rc);
	}
	switch (o.action) {
	case SWTPM_RUN:
		return run(&o);
	case SWTPM_HELP:
		fputs(HELP, stdout);
		return EXIT_DONE;
	case SWTPM_VERSION:
		printf("shieldvm-swtpm %s, a TPM emulator with swtpm's command line\n",
		       SHIELDVM_VERSION);
		return EXIT_DONE;
	case SWTPM_CAPABILITIES:
		return print_capabilities(&o);
	case SWTPM_STATES:
		rc = swtpm_state_print(&o, stdout, &f);
		if (rc < 0)
			fprintf(stderr, "shieldvm-swtpm: %s\n", f.text);
		return (int)err_exit_code(rc);
	}
	return EXIT_USAGE;
}
