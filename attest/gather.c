/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Evidence from this host: apart from attest/evidence.c, so that a guardian, which only reads
 * evidence, links nothing that talks to a TPM.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/evidence.h"
#include "attest/hosttpm.h"
#include "base/fd.h"

#define KERNEL_EVENTLOG "/sys/kernel/security/tpm0/binary_bios_measurements"
#define KERNEL_IMA	"/sys/kernel/security/ima/binary_runtime_measurements"

/* A log of the kernel's, which may be behind a link of its own (IMA's are since Linux 6.9), or a
 * file that was named. */
static int read_log(const char *path, const char *kernels, struct buf *out, struct fault *f)
{
	const char *name = path ? path : kernels;
	struct stat st;
	CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT && !path)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	if (!S_ISREG(st.st_mode))
		return fault_set(f, -EINVAL, "%s: not a regular file", name);
	int rc = fd_read_all(fd, out);
	if (rc == ERR_LIMIT)
		return fault_set(f, rc, "%s: larger than the %zu bytes that a guardian takes", name,
				 out->max);
	return rc < 0 ? fault_set(f, rc, "%s: %s", name, err_text(rc)) : 0;
}

/* TO takes over what FROM holds. */
static void move(struct buf *to, struct buf *from)
{
	buf_done(to);
	size_t max = to->max;
	*to = *from;
	to->max = max;
	*from = BUF_INIT(0);
}

int evidence_gather(struct hosttpm *t, const struct challenge *c,
		    const uint8_t host[static UUID_BYTES],
		    const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], const char *eventlog_path,
		    const char *ima_path, struct evidence *out, struct fault *f)
{
	struct hosttpm_proof proof = { 0 };
	struct evidence e CLEANUP(evidence_done);
	evidence_init(&e);
	memcpy(e.host, host, sizeof(e.host));
	memcpy(e.nonce, c->nonce, sizeof(e.nonce));
	memcpy(e.worker, worker, sizeof(e.worker));
	int rc = hosttpm_prove(t, c->bank, c->mask, c->nonce, worker, host, &proof, f);
	if (rc >= 0) {
		e.pcrs = proof.pcrs;
		move(&e.bk_pub, &proof.bk_pub);
		move(&e.creation, &proof.creation);
		move(&e.creation_signature, &proof.creation_signature);
		move(&e.quote, &proof.quote);
		move(&e.quote_signature, &proof.quote_signature);
	}
	hosttpm_proof_done(&proof);
	/* After the quote: what is measured in between is behind the prefix that replays to it. */
	if (rc >= 0)
		rc = read_log(eventlog_path, KERNEL_EVENTLOG, &e.eventlog, f);
	if (rc >= 0)
		rc = read_log(ima_path, KERNEL_IMA, &e.ima, f);
	if (rc >= 0)
		rc = evidence_check_sizes(&e, f);
	if (rc < 0)
		return rc;
	*out = e;
	evidence_init(&e);
	return 0;
}
