/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/ekca.h"
#include "crypto/init.h"
#include "libvirt/control.h"

#define NOBODY	     65534
#define ALL_MS	     300000 /* the whole command; then it is ended */
#define ANSWERS_MS   3000
#define FOLDER_BYTES "size=64m,mode=0755"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

/* ---- Findings ------------------------------------------------------------------------------- */

PRINTF_LIKE(3, 0)
static void find(struct finding *out, enum outcome outcome, const char *fmt, va_list args)
{
	if (out->outcome == OUTCOME_OPEN || (out->outcome == outcome && out->text[0]))
		return;
	/* What could not be tried is not closed. */
	if (out->outcome == OUTCOME_IMPOSSIBLE && outcome == OUTCOME_CLOSED)
		return;
	out->outcome = outcome;
	vsnprintf(out->text, sizeof(out->text), fmt, args);
}

#define FIND(outcome)                                                                              \
	va_list args;                                                                              \
	va_start(args, fmt);                                                                       \
	find(out, outcome, fmt, args);                                                             \
	va_end(args)

void find_open(struct finding *out, const char *fmt, ...)
{
	FIND(OUTCOME_OPEN);
}

void find_closed(struct finding *out, const char *fmt, ...)
{
	FIND(OUTCOME_CLOSED);
}

void find_impossible(struct finding *out, const char *fmt, ...)
{
	FIND(OUTCOME_IMPOSSIBLE);
}

int find_canary(const struct victim *v, const void *mem, size_t n, const char *where,
		struct finding *out)
{
	const char *name = canary_in(&v->canaries, mem, n);
	if (name)
		find_open(out, "%s is in %s", name, where);
	return name != NULL;
}

/* ---- The throw-away host -------------------------------------------------------------------- */

struct host {
	struct jwk *key, *owner;
	struct victim vm, other;
};

static void host_done(struct host *h)
{
	victim_done(&h->vm);
	victim_done(&h->other);
	jwk_free(h->key);
	jwk_free(h->owner);
}

/* Folders of our own where the host's are, for this process and what it starts. */
static int hide_folders(struct fault *f)
{
	static const struct {
		const char *path;
		mode_t mode;
	} FOLDERS[] = {
		{ PATH_ETC, 0755 }, { PATH_STATE, 0711 }, { PATH_RUN, 0711 }, { PATH_LOG, 0750 }
	};
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return fault_set(f, -errno, "selftest: /proc cannot be mounted: %s",
				 err_text(-errno));
	for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
		if (mount("selftest", FOLDERS[i].path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
			  FOLDER_BYTES) < 0)
			return fault_set(f, -errno, "selftest: %s cannot be covered: %s%s",
					 FOLDERS[i].path, err_text(-errno),
					 errno == ENOENT ? "; run shieldvm host init first" : "");
		if (chmod(FOLDERS[i].path, FOLDERS[i].mode) < 0)
			return fault_set(f, -errno, "%s: %s", FOLDERS[i].path, err_text(-errno));
	}
	if (mkdir(PATH_REGISTRY, 0700) < 0 || chdir(PATH_RUN) < 0)
		return fault_set(f, -errno, "%s: %s", PATH_REGISTRY, err_text(-errno));
	return 0;
}

/* What a careless parent leaves behind: a worker must not care. */
static void be_careless(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	(void)setrlimit(RLIMIT_CORE, &all);
	(void)prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	umask(0);
}

static int host_open(struct host *h, struct fault *f)
{
	const struct passwd *pw = getpwnam(QEMU_USER);
	uid_t qemu = pw ? pw->pw_uid : NOBODY;
	int rc = hide_folders(f);
	if (rc >= 0 && crypto_init() < 0)
		rc = fault_set(f, ERR_CRYPTO, "libcrypto does not start");
	if (rc >= 0)
		rc = jwk_new(&h->key, f);
	if (rc >= 0)
		rc = jwk_new(&h->owner, f);
	if (rc >= 0)
		rc = jwk_write_pair(h->key, PATH_HOST_KEY, f);
	if (rc >= 0)
		rc = ekca_init(PATH_EK_CA, f);
	if (rc >= 0)
		rc = victim_new(&h->vm, 0, qemu, h->key, h->owner, f);
	if (rc >= 0)
		rc = victim_new(&h->other, 1, qemu, h->key, h->owner, f);
	be_careless();
	if (rc >= 0)
		rc = victim_start(&h->other, f);
	if (rc >= 0)
		rc = victim_start(&h->vm, f);
	h->vm.other = &h->other;
	return rc;
}

/* ---- Attacks -------------------------------------------------------------------------------- */

static _Noreturn void attack_and_exit(const struct attack *a, struct victim *v, int pipe)
{
	struct finding found = { OUTCOME_CLOSED, "" };
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	int rc = a->as == AS_QEMU ? become_user(v->qemu_uid) : 0;
	if (rc < 0)
		find_impossible(&found, "uid %u cannot be taken: %s", (unsigned int)v->qemu_uid,
				err_text(rc));
	else
		a->run(v, &found);
	rc = fd_write_full(pipe, &found, sizeof(found));
	_exit(rc < 0);
}

/* Reap whoever has lost a parent: this is the first process of its PID namespace. */
static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		continue;
}

/* A against V, in a process of its own. */
static void run_one(const struct attack *a, struct victim *v, struct finding *out)
{
	int64_t deadline = clock_ms() + SELFTEST_ATTACK_MS;
	int ends[2];
	*out = (struct finding){ OUTCOME_CLOSED, "" };
	if (pipe2(ends, O_CLOEXEC) < 0) {
		find_impossible(out, "pipe: %s", err_text(-errno));
		return;
	}
	CLEANUP_FD int from = ends[0];
	CLEANUP_FD int to = ends[1];
	pid_t pid = fork();
	if (pid == 0)
		attack_and_exit(a, v, to);
	fd_close(&to);
	struct pollfd p = { .fd = from, .events = POLLIN };
	while (pid > 0 && poll(&p, 1, 20) == 0 && clock_left_ms(deadline) > 0)
		reap();
	struct finding found;
	if (pid > 0 && p.revents && fd_read_full(from, &found, sizeof(found)) == 0)
		*out = found;
	else
		find_open(out, "the attack did not come to an end");
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	reap();
}

/* 1 if A works where nothing is protected; else *OUT says so. */
static int works_on_decoy(const struct attack *a, const struct victim *v, struct finding *out)
{
	struct victim decoy;
	struct finding found = { OUTCOME_IMPOSSIBLE, "" };
	struct fault f = { 0 };
	if (decoy_start(v, &decoy, &f) >= 0)
		run_one(a, &decoy, &found);
	else
		find_impossible(&found, "%s", f.text);
	decoy_stop(&decoy);
	if (found.outcome == OUTCOME_OPEN)
		return 1;
	/* It may be that this host allows nobody that: no proof of the worker's own protection. */
	*out = (struct finding){ OUTCOME_IMPOSSIBLE, "" };
	snprintf(out->text, sizeof(out->text), "not even an unprotected process: %.180s",
		 found.text);
	return 0;
}

/* After an attack: the VM answers, or has ended, and then there is a new one. */
static int restore(const struct attack *a, struct victim *v, struct finding *out, struct fault *f)
{
	if (!a->fresh && victim_answers(v, ANSWERS_MS))
		return 0;
	if (!a->fresh && !victim_has_ended(v, ANSWERS_MS))
		find_open(out, "afterwards the VM neither answers nor ends (%.120s)", out->text);
	victim_stop(v);
	reap();
	int rc = victim_start(v, f);
	return rc < 0 ? fault_wrap(f, rc, "after %s", a->id) : 0;
}

static int attack(const struct attack *a, struct host *h, struct finding *out, struct fault *f)
{
	if (a->decoy && !works_on_decoy(a, &h->vm, out))
		return 0;
	run_one(a, &h->vm, out);
	int rc = restore(a, &h->vm, out, f);
	if (out->outcome == OUTCOME_OPEN && a->residual)
		out->outcome = OUTCOME_RESIDUAL;
	return rc;
}

/* ---- The report ----------------------------------------------------------------------------- */

static const char *const OUTCOMES[] = { [OUTCOME_CLOSED] = "closed",
					[OUTCOME_RESIDUAL] = "open-expected",
					[OUTCOME_OPEN] = "OPEN",
					[OUTCOME_IMPOSSIBLE] = "not-possible-here" };
#define N_OUTCOMES (sizeof(OUTCOMES) / sizeof(OUTCOMES[0]))

static void print_protections(const struct protections *p)
{
	char text[PROTECTIONS_TEXT_MAX];
	protections_text(p, PROTECTIONS_OF_WORKER, text);
	printf("What this kernel gives a worker (-: it does not): %s\n\n", text);
}

static void print_row(const struct attack *a, const struct finding *found)
{
	printf("%-17s  %-20s  %s%s\n%-17s  %-20s    %s\n", OUTCOMES[found->outcome], a->id, a->does,
	       a->as == AS_QEMU ? " (as QEMU's user)" : "", "", "", found->text);
	if (found->outcome == OUTCOME_CLOSED)
		printf("%-17s  %-20s    closed by: %s\n", "", "", a->feature);
	fflush(stdout);
}

/* What to do, once for all that it would help against. */
static void print_remedies(const struct finding *found, enum outcome outcome, const char *lead)
{
	for (size_t i = 0; i < N_ATTACKS; i++) {
		int said = found[i].outcome != outcome;
		for (size_t j = 0; j < i && !said; j++)
			said = found[j].outcome == outcome &&
			       strcmp(ATTACKS[j].remedy, ATTACKS[i].remedy) == 0;
		if (said)
			continue;
		printf("%s", lead);
		for (size_t j = i; j < N_ATTACKS; j++)
			if (found[j].outcome == outcome &&
			    strcmp(ATTACKS[j].remedy, ATTACKS[i].remedy) == 0)
				printf("%s%s", j == i ? "" : ", ", ATTACKS[j].id);
		printf(".  Remedy: %s.\n", ATTACKS[i].remedy);
	}
}

static void print_summary(const struct finding *found, const size_t n[static N_OUTCOMES])
{
	printf("\n%zu attacks: %zu closed, %zu open as SECURITY.md says, %zu OPEN against "
	       "SECURITY.md, %zu not possible here.\n",
	       N_ATTACKS, n[OUTCOME_CLOSED], n[OUTCOME_RESIDUAL], n[OUTCOME_OPEN],
	       n[OUTCOME_IMPOSSIBLE]);
	print_remedies(found, OUTCOME_OPEN, "Not held here: ");
	print_remedies(found, OUTCOME_RESIDUAL, "Known: ");
	if (n[OUTCOME_OPEN] == 0)
		puts("What SECURITY.md says of the worker holds on this host.");
}

/* What the worker says of itself: names of protections, held or missing. */
static json_t *protections_list(const struct protections *p, int held)
{
	json_t *list = json_array();
	for (enum protection i = 0; i < PROTECTIONS_N; i++) {
		int wanted = held ? protections_have(p, i)
				  : protections_miss(p, PROTECTIONS_OF_WORKER, i);
		if (wanted && json_array_append_new(list, json_string(protection_name(i))) < 0)
			break;
	}
	return list;
}

static int print_json(const struct protections *p, const struct finding *found,
		      const size_t n[static N_OUTCOMES])
{
	struct utsname name = { 0 };
	json_t *rows = json_array();
	uname(&name);
	for (size_t i = 0; i < N_ATTACKS; i++) {
		const struct attack *a = &ATTACKS[i];
		json_t *row =
			json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "id", a->id, "as",
				  a->as == AS_QEMU ? "qemu" : "root", "does", a->does, "claim",
				  a->claim, "feature", a->feature, "remedy", a->remedy, "outcome",
				  OUTCOMES[found[i].outcome], "detail", found[i].text);
		if (!row || json_array_append_new(rows, row) < 0) {
			json_decref(rows);
			return -ENOMEM;
		}
	}
	json_t *all = json_pack("{s:s,s:s,s:{s:o,s:o},s:b,s:{s:I,s:I,s:I,s:I},s:o}", "version",
				SHIELDVM_VERSION, "kernel", name.release, "protections", "held",
				protections_list(p, 1), "missing", protections_list(p, 0), "holds",
				n[OUTCOME_OPEN] == 0, "summary", OUTCOMES[0], (json_int_t)n[0],
				OUTCOMES[1], (json_int_t)n[1], OUTCOMES[2], (json_int_t)n[2],
				OUTCOMES[3], (json_int_t)n[3], "attacks", rows);
	int rc = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? 0 : -EIO;
	putchar('\n');
	json_decref(all);
	return rc;
}

/* In the namespaces: 0, or ERR_POLICY if a claim does not hold. */
static int attack_all(int json, struct fault *f)
{
	struct host h CLEANUP(host_done) = { .vm = VICTIM_NONE, .other = VICTIM_NONE };
	struct finding found[64];
	size_t n[N_OUTCOMES] = { 0 };
	struct control_reply reply = { 0 };
	int rc = N_ATTACKS > sizeof(found) / sizeof(found[0]) ? ERR_LIMIT : host_open(&h, f);
	if (rc >= 0)
		rc = control_ask(h.vm.facts.vm, CONTROL_STATUS, &reply, f);
	if (rc >= 0 && !json)
		print_protections(&reply.worker);
	for (size_t i = 0; rc >= 0 && i < N_ATTACKS; i++) {
		rc = attack(&ATTACKS[i], &h, &found[i], f);
		n[found[i].outcome]++;
		if (!json)
			print_row(&ATTACKS[i], &found[i]);
	}
	if (rc >= 0 && json)
		rc = print_json(&reply.worker, found, n);
	else if (rc >= 0)
		print_summary(found, n);
	if (rc >= 0 && n[OUTCOME_OPEN])
		rc = fault_set(f, ERR_POLICY,
			       "selftest: %zu claims of SECURITY.md do not hold here",
			       n[OUTCOME_OPEN]);
	return rc;
}

/* ---- The command ---------------------------------------------------------------------------- */

struct report {
	int rc;
	struct fault f;
};

/* Whatever happens in there, it ends with its first process. */
static int run_apart(int json, struct fault *f)
{
	struct report *report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED || unshare(CLONE_NEWNS | CLONE_NEWPID) < 0)
		return fault_set(f, -errno,
				 "selftest: no namespaces of its own (%s); run it on the host, "
				 "not in a container",
				 err_text(-errno));
	report->rc = ERR_STATE;
	pid_t pid = fork();
	if (pid < 0)
		return fault_set(f, -errno, "fork: %s", err_text(-errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		report->rc = attack_all(json, &report->f);
		fflush(stdout);
		_exit(0);
	}
	CLEANUP_FD int pidfd = pidfd_open(pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	if (poll(&p, 1, ALL_MS) <= 0) {
		report->rc = -ETIMEDOUT;
		fault_set(&report->f, -ETIMEDOUT, "selftest: not done within %d s", ALL_MS / 1000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	*f = report->f;
	int rc = report->rc;
	munmap(report, sizeof(*report));
	return rc;
}

int cmd_selftest(int argc, char **argv, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	int json = 0;
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		json = 1;
	}
	int rc = options_operands(argc, argv, 0, "", f);
	if (rc < 0)
		return rc;
	if (geteuid() != 0)
		return fault_set(f, -EPERM, "selftest: only root can attack a worker as root");
	fflush(stdout);
	return run_apart(json, f);
}
