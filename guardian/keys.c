/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/keys.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/wipe.h"

struct point {
	uint8_t x[JWK_COORDINATE_BYTES], y[JWK_COORDINATE_BYTES];
};
struct secret {
	int32_t rc;
	uint8_t z[JWK_COORDINATE_BYTES];
};

int keys_run(const struct ecdh *key, int link, struct fault *f)
{
	for (;;) {
		struct point p;
		struct secret s = { 0 };
		ssize_t n = recv(link, &p, sizeof(p), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n != (ssize_t)sizeof(p))
			return fault_set(f, n < 0 ? -errno : ERR_FORMAT, "the keeper: %s",
					 err_text(n < 0 ? -errno : ERR_FORMAT));
		s.rc = key->derive(key->arg, p.x, p.y, s.z);
		int failed = s.rc;
		n = send(link, &s, sizeof(s), MSG_NOSIGNAL);
		wipe(&s, sizeof(s));
		if (failed < 0)
			return fault_set(f, failed, "the key does not derive: %s",
					 err_text(failed));
		if (n != (ssize_t)sizeof(s))
			return 0;
	}
}

static int give_up(struct keys *k, int rc)
{
	fd_close(&k->link);
	k->lost = 1;
	return rc;
}

static int derive(void *arg, const uint8_t x[static JWK_COORDINATE_BYTES],
		  const uint8_t y[static JWK_COORDINATE_BYTES],
		  uint8_t z[static JWK_COORDINATE_BYTES])
{
	struct keys *k = arg;
	struct point p;
	struct secret s;
	int64_t until = clock_ms() + KEYS_MS;
	if (k->link < 0)
		return -ENODEV;
	memcpy(p.x, x, sizeof(p.x));
	memcpy(p.y, y, sizeof(p.y));
	if (send(k->link, &p, sizeof(p), MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(p))
		return give_up(k, -EIO);
	for (;;) {
		struct pollfd fd = { .fd = k->link, .events = POLLIN };
		int n = poll(&fd, 1, clock_left_ms(until));
		if (n > 0)
			break;
		if (n == 0)
			return give_up(k, -ETIMEDOUT);
		if (errno != EINTR)
			return give_up(k, -errno);
	}
	ssize_t n = recv(k->link, &s, sizeof(s), MSG_DONTWAIT);
	int rc = n == (ssize_t)sizeof(s) && s.rc == 0 ? 0 : -EIO;
	if (rc == 0)
		memcpy(z, s.z, sizeof(s.z));
	wipe(&s, sizeof(s));
	return rc < 0 ? give_up(k, rc) : 0;
}

int keys_ecdh(struct keys *k, const struct jwk *key, struct ecdh *out)
{
	int rc = jwk_thumbprint(key, out->thumbprint);
	if (rc < 0)
		return rc;
	out->derive = derive;
	out->arg = k;
	return 0;
}
