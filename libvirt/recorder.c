/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/paths.h"
#include "libvirt/folders.h"

#define JOURNAL	   "/run/systemd/journal/socket"
#define CGROUP_MAX 4096

struct recorder {
	struct audit *audit;
	int log_dir, registry;
	struct jwk *host; /* NULL: this host has no key */
	struct audit_record about;
	int is_signed; /* the anchor was, behind the last record of this call */
};

/* The systemd unit of PID, from the last component of its cgroup that is one; "" if unknown. */
static void find_unit(pid_t pid, char unit[static AUDIT_UNIT_MAX])
{
	CLEANUP_BUF struct buf text = BUF_INIT(CGROUP_MAX);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fd_read_all(fd, &text) < 0 || !buf_cstr(&text))
		return;
	for (char *save, *part = strtok_r((char *)text.data, "/\n", &save); part;
	     part = strtok_r(NULL, "/\n", &save)) {
		size_t n = strlen(part);
		if ((n > 8 && strcmp(part + n - 8, ".service") == 0) ||
		    (n > 6 && strcmp(part + n - 6, ".scope") == 0))
			audit_text(unit, AUDIT_UNIT_MAX, part);
	}
}

static void find_peer(struct audit_record *r)
{
	char path[64];
	struct stat st;
	pid_t pid = getppid();
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	r->pid = pid;
	if (stat(path, &st) == 0)
		r->uid = st.st_uid;
	find_unit(pid, r->unit);
}

int recorder_open(const char *request, struct recorder **out, struct fault *f)
{
	CLEANUP_RECORDER struct recorder *r = calloc(1, sizeof(*r));
	if (!r)
		return fault_set(f, -ENOMEM, "the audit log: %s", err_text(-ENOMEM));
	r->log_dir = r->registry = -1;
	r->about = AUDIT_RECORD(AUDIT_REFUSED, AUDIT_BY_HOOK, AUDIT_NO);
	AUDIT_TEXT(r->about.request, request);
	find_peer(&r->about);
	int rc = folders_audit(&r->log_dir, &r->registry, f);
	if (rc >= 0)
		rc = audit_open(r->log_dir, r->registry, &r->audit, f);
	if (rc >= 0)
		rc = audit_rotate(r->audit, r->log_dir, AUDIT_ROTATE_BYTES, f);
	if (rc < 0)
		return rc;
	/* A key that is missing or not usable is what the worker refuses to start for, unless a
	 * guardian has the VM's. */
	(void)!jwk_read_file(PATH_HOST_KEY, 1, &r->host, NULL);
	*out = r;
	r = NULL;
	return 0;
}

void recorder_free(struct recorder *r)
{
	if (!r)
		return;
	audit_free(r->audit);
	jwk_free(r->host);
	fd_close(&r->log_dir);
	fd_close(&r->registry);
	free(r);
}

void recorder_about(struct recorder *r, const uint8_t *vm, const char *name, const char *level)
{
	r->about.has_vm = vm != NULL;
	if (vm)
		memcpy(r->about.vm, vm, UUID_BYTES);
	AUDIT_TEXT(r->about.name, name);
	AUDIT_TEXT(r->about.level, level);
}

/* A copy of R in the journal's own protocol: one datagram, a field a line.  As far as it goes. */
static void tell_journal(const struct audit_record *r)
{
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = JOURNAL };
	CLEANUP_BUF struct buf m = BUF_INIT(2 * AUDIT_LINE_MAX);
	char vm[UUID_TEXT_SIZE] = "";
	if (r->has_vm)
		uuid_format(r->vm, vm);
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = buf_addf(&m,
			  "SYSLOG_IDENTIFIER=shieldvm\nPRIORITY=%d\nMESSAGE=%s %s %s%s%s\n"
			  "SHIELDVM_SEQ=%llu\nSHIELDVM_VM=%s\nSHIELDVM_NAME=%s\n"
			  "SHIELDVM_EVENT=%s\nSHIELDVM_RULE=%s\n",
			  r->verdict == AUDIT_NO ? 4 : 6, audit_event_name(r->event), r->name,
			  r->rule, r->reason[0] ? ": " : "", r->reason, (unsigned long long)r->seq,
			  vm, r->name, audit_event_name(r->event), r->rule);
	if (fd >= 0 && rc >= 0)
		(void)!sendto(fd, m.data, m.len, MSG_NOSIGNAL, (const struct sockaddr *)&to,
			      sizeof(to));
}

int recorder_write(struct recorder *r, enum audit_event event, enum audit_verdict verdict,
		   const char *rule, const char *reason, struct fault *f)
{
	struct audit_record record = r->about;
	record.event = event;
	record.verdict = verdict;
	AUDIT_TEXT(record.rule, rule);
	AUDIT_TEXT(record.reason, reason);
	r->is_signed = 0;
	int rc = audit_append(r->audit, &record, f);
	if (rc >= 0)
		tell_journal(&record);
	return rc;
}

int recorder_sign(struct recorder *r, struct fault *f)
{
	if (!r->host || r->is_signed)
		return 0;
	int rc = audit_sign(r->audit, r->registry, r->host, f);
	r->is_signed = rc >= 0;
	return rc;
}

const char *recorder_rule(const struct fault *f, const char *rule, char *buf)
{
	size_t n = strspn(f->text, "abcdefghijklmnopqrstuvwxyz0123456789.-");
	if (f->rc != ERR_POLICY || n == 0 || n >= AUDIT_RULE_MAX || f->text[n] != ':')
		return rule;
	memcpy(buf, f->text, n);
	buf[n] = '\0';
	return buf;
}
