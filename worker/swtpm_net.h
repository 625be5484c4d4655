/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sockets that shieldvm-swtpm listens on.
 *
 * Used by: shieldvm-swtpm, before sealing.
 */
#ifndef SHIELDVM_WORKER_SWTPM_NET_H
#define SHIELDVM_WORKER_SWTPM_NET_H

#include "worker/swtpm_opts.h"

/*
 * A listener as S says, non-blocking if POLLED (OPTION is its name in sentences): the descriptor it
 * gives, or a new TCP (127.0.0.1 unless an address is given) or Unix socket; a left-over Unix
 * socket in its place is replaced, anything else there is refused.  The descriptor, or -errno,
 * ERR_USAGE.
 */
int swtpm_listen(const char *option, const struct swtpm_socket *s, int polled,
		 struct fault *f) MUST_CHECK;

/* 0 if FD is an open socket whose SO_ACCEPTCONN is LISTENING; ERR_USAGE with a sentence. */
int swtpm_check_socket(const char *option, int fd, int listening, struct fault *f) MUST_CHECK;

#endif
