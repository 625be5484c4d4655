/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-ask: asks guardians for one VM's key, for the hook (base/ask.h).
 *
 * Root, for this host's TPM and key.  What it parses comes from guardians that the VM's owner
 * named, over connections known by their keys; the hook has verified the protector, and it is
 * verified here again.  It never has the VM's key in clear, unless it opens a sealed copy.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attest/lease_note.h"
#include "attest/obtain.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "crypto/init.h"
#include "sandbox/phases.h"

/* Before ASK_TIMEOUT_MS: what is left is for the TPM, and for saying why. */
#define GUARDIANS_MS (ASK_TIMEOUT_MS - 20000)

/* The request, and in *TEXT the protector with a NUL behind it, both in MESSAGE. */
static int receive(uint8_t *message, size_t max, struct ask_request *out, const char **text,
		   struct fault *f)
{
	int fds[FD_PASS_MAX];
	size_t n_fds = 0;
	ssize_t n = fd_recv(ASK_FD, message, max - 1, fds, &n_fds);
	for (size_t i = 0; i < n_fds; i++)
		fd_close(&fds[i]);
	if (n < 0)
		return fault_set(f, (int)n, "the request: %s", err_text((int)n));
	if ((size_t)n < sizeof(*out))
		return fault_set(f, ERR_TRUNCATED, "the request is cut off");
	memcpy(out, message, sizeof(*out));
	if (out->magic != ASK_MAGIC || out->version != ASK_VERSION)
		return fault_set(f, ERR_VERSION,
				 "hook and shieldvm-ask are of different versions: reinstall");
	if (out->comes > 1 || out->protector_bytes > PROTECTOR_TEXT_MAX ||
	    (size_t)n != sizeof(*out) + out->protector_bytes)
		return fault_set(f, ERR_FORMAT, "the request is malformed");
	message[n] = '\0';
	*text = (const char *)message + sizeof(*out);
	return 0;
}

static int answer(const struct ask_request *request, const char *text, struct ask_reply *reply,
		  struct fault *f)
{
	CLEANUP_CONF struct conf conf = { 0 };
	struct obtain o = { .request = request,
			    .protector = text,
			    .conf = &conf,
			    .until_ms = clock_ms() + GUARDIANS_MS };
	int rc = conf_read(PATH_ATTEST, &conf, f);
	CLEANUP_FD int leases = rc < 0 ? rc : lease_note_folder(PATH_LEASES, f);
	if (leases < 0) {
		snprintf(reply->rule, sizeof(reply->rule), "guardian.host");
		return leases;
	}
	o.leases = leases;
	return obtain_key(&o, reply, reply->rule, f);
}

int main(int argc, char **argv)
{
	static uint8_t message[sizeof(struct ask_request) + PROTECTOR_TEXT_MAX + 1];
	static struct ask_request request;
	static struct ask_reply reply = { .magic = ASK_MAGIC, .version = ASK_VERSION };
	struct fault f = { 0 };
	const char *text = NULL;
	(void)argv;
	if (argc != 1 || geteuid() != 0) {
		fprintf(stderr, "shieldvm-ask: the hook starts it; see shieldvm-hook(8)\n");
		return EXIT_USAGE;
	}
	int rc = phases_early(ASK_FD, &f);
	if (rc >= 0 &&
	    (setenv("TSS2_LOG", "all+NONE", 1) < 0 || setenv("OPENSSL_CONF", "/dev/null", 1) < 0))
		rc = fault_set(&f, -errno, "setenv: %s", err_text(-errno));
	/* A TPM may keep its caller waiting for good. */
	alarm(ASK_TIMEOUT_MS / 1000);
	if (rc >= 0)
		rc = crypto_init();
	if (rc >= 0)
		rc = receive(message, sizeof(message), &request, &text, &f);
	if (rc >= 0)
		rc = answer(&request, text, &reply, &f);
	if (rc < 0) {
		reply.rc = fault_set(&f, rc, "%s", err_text(rc));
		snprintf(reply.text, sizeof(reply.text), "%s", f.text);
		memset(reply.guardian, 0, sizeof(reply.guardian));
		memset(&reply.key, 0, sizeof(reply.key));
		reply.offline_left = 0;
	}
	int sent = fd_send(ASK_FD, &reply, sizeof(reply), NULL, 0);
	wipe(&reply, sizeof(reply));
	return sent < 0 ? EXIT_ENVIRONMENT : rc < 0 ? EXIT_REFUSED : EXIT_DONE;
}
