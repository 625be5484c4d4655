/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-hook: what libvirt calls as its qemu hook, "hook NAME OPERATION SUBOPERATION EXTRA" with
 * the domain's XML on standard input.
 *
 * A domain without a shield element is none of its business.  For a shielded one, a status other
 * than 0 keeps libvirt from going on, and the one sentence on standard error is what `virsh` shows.
 * Nothing is ever written to standard output: libvirt would take it for new XML.
 *
 * Runs as root.  The environment, the name on the command line and the XML are somebody else's;
 * what counts is what the protector's signature covers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "crypto/protector.h"
#include "libvirt/control.h"
#include "libvirt/domain.h"
#include "libvirt/folders.h"
#include "libvirt/registry.h"
#include "libvirt/spawner.h"

/* More than libvirt can be given (4 MiB strings) and adds itself. */
#define XML_MAX		(8 * 1024 * 1024)
#define RELEASE_WAIT_MS 5000 /* for the broker to see that QEMU has ended */

/* One call for a shielded domain: what is known and verified of it. */
struct call {
	struct domain *domain;
	const char *protector_text;
	struct protector *protector;
	const struct protector_facts *facts;
};

static void call_done(struct call *c)
{
	protector_free(c->protector);
	domain_free(c->domain);
}

static int qemu_uid(uid_t *uid, struct fault *f)
{
	errno = 0;
	const struct passwd *pw = getpwnam(QEMU_USER);
	if (!pw)
		return fault_set(f, errno ? -errno : -ENOENT,
				 "the user %s, which QEMU runs as, is not known here", QEMU_USER);
	*uid = pw->pw_uid;
	return 0;
}

/* Bring the registry up to date for this start; *NEXT is what it says then. */
static int admit(const struct call *c, const struct folders *folders, struct registry *next,
		 int *may_be_new, struct fault *f)
{
	struct registry old;
	enum registry_birth birth;
	char owner[JWK_THUMBPRINT_SIZE];
	int rc = jwk_thumbprint(protector_owner(c->protector), owner);
	if (rc < 0)
		return fault_set(f, rc, "the owner's key: %s", err_text(rc));
	rc = registry_read(folders->registry, c->facts->vm, &old, f);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = registry_admit(rc < 0 ? NULL : &old, owner, c->facts->tpm_id, next, &birth, f);
	if (rc < 0)
		return rc;
	if (birth == REGISTRY_REPLACES) {
		char suffix[2 * REGISTRY_TPM_BYTES + 1];
		registry_tpm_text(old.tpm, suffix);
		rc = folders_set_aside(folders->state, suffix, f);
		if (rc < 0)
			return rc;
	}
	*may_be_new = birth != REGISTRY_KNOWN;
	/* Before the worker can make a TPM: a registry that comes after it could be lost with it.
	 */
	return *may_be_new ? registry_write(folders->registry, c->facts->vm, next, f) : 0;
}

/* Start the worker in its FOLDERS, and write down that its TPM is made. */
static int spawn(const struct call *c, const struct folders *folders, uid_t qemu, struct fault *f)
{
	struct registry registry;
	int may_be_new, made;
	int rc = admit(c, folders, &registry, &may_be_new, f);
	if (rc < 0)
		return rc;
	const struct spawner_order order = { .vm = c->facts->vm,
					     .name = domain_name(c->domain),
					     .protector = c->protector_text,
					     .protector_bytes = strlen(c->protector_text),
					     .worker_uid = folders->uid,
					     .qemu_uid = qemu,
					     .may_be_new = may_be_new,
					     .lock = folders->lock };
	rc = spawner_run(&order, &made, f);
	if (rc < 0 || !may_be_new)
		return rc;
	registry.made = 1;
	return registry_write(folders->registry, c->facts->vm, &registry, f);
}

static int prepare(const struct call *c, struct fault *f)
{
	CLEANUP_FOLDERS struct folders folders = { -1, -1, -1, 0 };
	uid_t qemu;
	int rc = domain_check(c->domain, c->facts, f);
	if (rc >= 0)
		rc = qemu_uid(&qemu, f);
	if (rc >= 0)
		rc = folders_open(c->facts->vm, &folders, f);
	if (rc < 0)
		return rc;
	rc = spawn(c, &folders, qemu, f);
	if (rc < 0) {
		/* The start is vetoed with what is in F already; this is only to leave nothing. */
		struct fault ignored = { 0 };
		folders_done(&folders);
		if (control_stop(c->facts->vm, &ignored) >= 0)
			(void)!folders_clear_run(c->facts->vm, &ignored);
	}
	return rc;
}

static int start(const struct call *c, struct fault *f)
{
	struct control_reply reply;
	/* Again: libvirt has settled since what a network or a device pool gives the domain. */
	int rc = domain_check(c->domain, c->facts, f);
	return rc < 0 ? rc : control_ask(c->facts->vm, CONTROL_ARM, &reply, f);
}

static int started(const struct call *c, struct fault *f)
{
	struct control_reply reply;
	return control_ask(c->facts->vm, CONTROL_LAUNCHED, &reply, f);
}

/*
 * When libvirt calls this, QEMU has ended, and the broker sees that by itself.  If it does not, the
 * QEMU that runs is not the one that libvirt speaks of.  Did libvirt see that one's start succeed,
 * this is the end of a failed attempt to start a VM that runs already (prepare was refused for it),
 * and that VM must not be harmed; if not, a stranger has the vTPM, and must not keep it.
 */
static int release(const struct call *c, struct fault *f)
{
	struct control_reply reply;
	int64_t deadline = clock_ms() + RELEASE_WAIT_MS;
	for (;;) {
		struct fault ignored = { 0 };
		int rc = control_ask(c->facts->vm, CONTROL_STATUS, &reply, &ignored);
		if (rc < 0 || !reply.started)
			break;
		if (!clock_wait(deadline))
			return fault_set(f, ERR_STATE,
					 "the VM's QEMU (pid %d) runs, and so does its worker",
					 (int)reply.qemu_pid);
	}
	int rc = control_stop(c->facts->vm, f);
	return rc < 0 ? rc : folders_clear_run(c->facts->vm, f);
}

/* The protector was verified to get here, and that is all there is to do. */
static int accept_verified(const struct call *c, struct fault *f)
{
	(void)c;
	(void)f;
	return 0;
}

static const struct operation {
	const char *name;
	int (*run)(const struct call *c, struct fault *f);
} OPERATIONS[] = {
	{ "prepare", prepare },		{ "start", start },	{ "started", started },
	{ "stopped", release },		{ "release", release }, { "migrate", accept_verified },
	{ "restore", accept_verified },
};

static const struct operation *find_operation(const char *name)
{
	for (size_t i = 0; i < sizeof(OPERATIONS) / sizeof(OPERATIONS[0]); i++)
		if (strcmp(OPERATIONS[i].name, name) == 0)
			return &OPERATIONS[i];
	return NULL;
}

/* Parse and verify.  Returns 0 with c->protector NULL if the domain is not shielded. */
static int read_call(const struct buf *xml, struct call *c, struct fault *f)
{
	uint8_t uuid[UUID_BYTES];
	/* Other people's domains must not depend on what our parser thinks of them. */
	if (!memmem(xml->data, xml->len, SHIELD_NAMESPACE, strlen(SHIELD_NAMESPACE)))
		return 0;
	int rc = domain_parse((const char *)xml->data, xml->len, &c->domain, f);
	if (rc < 0)
		return rc;
	c->protector_text = domain_shield_text(c->domain);
	if (!c->protector_text)
		return 0;
	rc = protector_parse(c->protector_text, strlen(c->protector_text), &c->protector, f);
	if (rc < 0)
		return rc;
	c->facts = protector_facts(c->protector);
	rc = domain_uuid(c->domain, uuid);
	if (rc < 0)
		return fault_set(f, rc, "the domain has no valid <uuid>");
	if (memcmp(uuid, c->facts->vm, UUID_BYTES) != 0) {
		char want[UUID_TEXT_SIZE], have[UUID_TEXT_SIZE];
		uuid_format(c->facts->vm, want);
		uuid_format(uuid, have);
		return fault_set(f, ERR_VM,
				 "the protector was made for VM %s, and this domain is %s", want,
				 have);
	}
	return 0;
}

static int run(const struct operation *op, struct fault *f)
{
	CLEANUP_BUF struct buf xml = BUF_INIT(XML_MAX);
	struct call c CLEANUP(call_done) = { 0 };
	int rc = fd_read_all(STDIN_FILENO, &xml);
	if (rc < 0)
		return fault_set(f, rc, "the domain's XML cannot be read: %s", err_text(rc));
	rc = read_call(&xml, &c, f);
	if (rc < 0 || !c.protector)
		return rc;
	return op->run(&c, f);
}

int main(int argc, char **argv)
{
	struct fault f = { 0 };
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("shieldvm-hook " SHIELDVM_VERSION);
		return EXIT_DONE;
	}
	if (argc < 4) {
		fputs("usage: shieldvm-hook NAME OPERATION SUBOPERATION [EXTRA] < domain.xml\n",
		      stderr);
		return EXIT_USAGE;
	}
	/* An operation of a newer libvirt, or one that is none of ours. */
	const struct operation *op = find_operation(argv[2]);
	if (!op)
		return EXIT_DONE;
	/* A standard descriptor that is missing must not become something else's number. */
	int null;
	while ((null = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0 && null <= 2)
		continue;
	fd_close(&null);
	clearenv();
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	int rc = run(op, &f);
	if (rc >= 0)
		return EXIT_DONE;
	fprintf(stderr, "shieldvm-hook: %s\n", f.text[0] ? f.text : err_text(rc));
	return (int)err_exit_code(rc);
}
