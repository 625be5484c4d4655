/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A control connection with a real vTPM behind it.  The input is a sequence of writes: a length
 * byte (255: a long one follows, big-endian 16 bits) and that many bytes.
 *
 * Every reply must be one that the protocol has: at least a result.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/worker/memory_store.h"
#include "worker/ctrl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store disk;
static struct vtpm *tpm;
static struct data *channel;

static void set_up(void)
{
	static const struct vm_key key;
	static const uint8_t vm[UUID_BYTES];
	struct vtpm_config config = { .store = &disk, .key = &key, .vm = vm };
	if (vtpm_new(&config, &tpm, NULL) < 0 || data_new(tpm, &channel, NULL) < 0)
		abort();
	log_open(-1, "fuzz", LOG_LEVEL_ERROR);
}

/* Read what there is; the number of bytes. */
static size_t drain(int fd)
{
	static uint8_t reply[65536];
	size_t total = 0;
	ssize_t n;
	while ((n = recv(fd, reply, sizeof(reply), MSG_DONTWAIT)) > 0)
		total += (size_t)n;
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int ends[2];
	struct ctrl *c;

	if (!tpm)
		set_up();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		abort();
	struct ctrl_config config = { .vtpm = tpm, .data = channel };
	if (ctrl_new(&config, ends[1], &c) < 0)
		abort();
	enum ctrl_event e = CTRL_OPEN;
	for (size_t at = 0; at < size && e == CTRL_OPEN;) {
		size_t n = data[at++];
		if (n == 255 && size - at >= 2) {
			n = (size_t)data[at] << 8 | data[at + 1];
			at += 2;
		}
		if (n > size - at)
			n = size - at;
		if (n && send(ends[0], data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			abort();
		at += n;
		size_t replied = 0;
		do {
			e = ctrl_step(c);
			replied += drain(ends[0]);
		} while (e == CTRL_OPEN && ctrl_events(c) != POLLIN);
		if (replied && replied < 4)
			abort();
	}
	ctrl_free(c);
	close(ends[0]);
	vtpm_stop(tpm);
	return 0;
}
