/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

_Static_assert(IMAGE_HEADER_BYTES <= STREAM_FRONT_MAX, "the header is read where the front goes");

/* ---- What else a file may be ---------------------------------------------------------------- */

#define COMPRESSED_SENTENCE                                                                        \
	"libvirt compressed it with %s, which sealed bytes do not shrink from (*_image_format in " \
	"/etc/libvirt/qemu.conf); unpack it on the way: "

static const struct foreign {
	const char *magic;
	size_t bytes;
	enum image_format packed; /* by this program */
	const char *what;	  /* or in the clear */
} FOREIGN[] = {
	{ "QEVM", 4, IMAGE_RAW, "a QEMU state" },
	{ "\177ELF", 4, IMAGE_RAW, "an ELF core" },
	{ "KDUMP   ", 8, IMAGE_RAW, "a kdump-compressed dump" },
	{ "makedumpfile", 12, IMAGE_RAW, "a flattened kdump" },
	{ "PAGEDU64", 8, IMAGE_RAW, "a Windows crash dump" },
	{ "\x1f\x8b", 2, IMAGE_GZIP, NULL },
	{ "BZh", 3, IMAGE_BZIP2, NULL },
	{ "\xfd"
	  "7zXZ",
	  5, IMAGE_XZ, NULL },
	{ "\x89LZO", 4, IMAGE_LZOP, NULL },
	{ "\x28\xb5\x2f\xfd", 4, IMAGE_ZSTD, NULL },
};

/* A better sentence than "malformed" for what begins with the N bytes at DATA, if there is one. */
static int refuse_foreign(const struct statefile *s, const uint8_t *data, size_t n, struct fault *f)
{
	for (size_t i = 0; i < sizeof(FOREIGN) / sizeof(FOREIGN[0]); i++) {
		const struct foreign *k = &FOREIGN[i];
		if (n < k->bytes || memcmp(data, k->magic, k->bytes) != 0)
			continue;
		if (k->what)
			return fault_set(f, ERR_FORMAT,
					 "%s: not sealed: %s in the clear, which everybody who may "
					 "read the file can open",
					 s->name, k->what);
		const char *program = image_format_name(k->packed);
		return fault_set(f, ERR_STATE,
				 "%s: " COMPRESSED_SENTENCE "%s -dc FILE | shieldvm state verify -",
				 s->name, program, program);
	}
	return 0;
}

int statefile_check_raw(const struct statefile *s, struct fault *f)
{
	if (s->sealed)
		return 0;
	if (s->image.format == IMAGE_SPARSE)
		return fault_set(f, ERR_FORMAT,
				 "%s: in libvirt's format 'sparse', which QEMU writes by itself: "
				 "not sealed",
				 s->name);
	const char *program = image_format_name(s->image.format);
	return fault_set(f, ERR_STATE,
			 "%s: " COMPRESSED_SENTENCE "virsh save-image-dumpxml FILE >vm.xml; "
			 "tail -c +%llu FILE | %s -dc | shieldvm state verify --protector vm.xml -",
			 s->name, program, (unsigned long long)(s->at + 1), program);
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* Up to N bytes, fewer only at the end of the file: how many, or -errno. */
static ssize_t read_up_to(int fd, uint8_t *dst, size_t n)
{
	size_t got = 0;
	while (got < n) {
		ssize_t r = read(fd, dst + got, n - got);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

/* Bring the front from the *N bytes that it has to at least WANTED, if the file has them. */
static int fill(struct statefile *s, size_t *n, size_t wanted, struct fault *f)
{
	if (*n >= wanted)
		return 0;
	ssize_t got = read_up_to(s->fd, s->front + *n, wanted - *n);
	if (got < 0)
		return fault_set(f, (int)got, "%s: %s", s->name, err_text((int)got));
	*n += (size_t)got;
	return 0;
}

/* Libvirt's header in the N first bytes, and the XML behind it. */
static int read_image(struct statefile *s, size_t n, struct fault *f)
{
	CLEANUP_FREE uint8_t *data = NULL;
	size_t xml_bytes = 0;
	int rc = fill(s, &n, IMAGE_HEADER_BYTES, f);
	if (rc >= 0)
		rc = image_header(s->front, n, &s->image, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", s->name);
	data = malloc(s->image.data_bytes); /* at most IMAGE_DATA_MAX */
	if (!data)
		return fault_set(f, -ENOMEM, "%s: no memory for its domain XML", s->name);
	ssize_t got = read_up_to(s->fd, data, s->image.data_bytes);
	if (got < 0)
		return fault_set(f, (int)got, "%s: %s", s->name, err_text((int)got));
	rc = image_xml(&s->image, data, (size_t)got, &xml_bytes, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", s->name);
	rc = domain_parse((const char *)data, xml_bytes, &s->domain, &s->domain_fault);
	if (rc < 0)
		(void)fault_wrap(&s->domain_fault, rc, "%s: the domain XML in it", s->name);
	s->has_image = 1;
	s->at = IMAGE_HEADER_BYTES + s->image.data_bytes;
	return 0;
}

static int read_front(struct statefile *s, size_t n, struct fault *f)
{
	size_t need = 0;
	int rc = fill(s, &n, STREAM_HEAD_BYTES, f);
	if (rc < 0)
		return rc;
	if (n == 0)
		return fault_set(f, ERR_TRUNCATED, "%s: %s", s->name,
				 s->has_image ? "nothing is behind libvirt's header" : "empty");
	rc = refuse_foreign(s, s->front, n, f);
	if (rc < 0)
		return rc;
	rc = stream_front_need(s->front, n, &need, f);
	if (rc >= 0 && n < need) {
		rc = fill(s, &n, need, f);
		if (rc < 0)
			return rc;
	}
	if (rc >= 0)
		rc = stream_inspect(s->front, n, &s->claims, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", s->name);
	s->front_bytes = n;
	s->sealed = 1;
	return 0;
}

static int open_file(struct statefile *s, const char *path, int writable, struct fault *f)
{
	struct stat st;
	if (!writable && strcmp(path, "-") == 0) {
		s->name = "standard input";
		s->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	} else {
		/* A FIFO without a writer would hold up the opening for writing. */
		s->fd = open(path, writable
					   ? O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY
					   : O_RDONLY | O_CLOEXEC | O_NOCTTY);
	}
	if (s->fd < 0 || fstat(s->fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", s->name, err_text(-errno));
	s->is_regular = S_ISREG(st.st_mode);
	if (S_ISDIR(st.st_mode) || (writable && !s->is_regular))
		return fault_set(f, -EINVAL, "%s: not a regular file", s->name);
	if (s->is_regular) {
		off_t at = lseek(s->fd, 0, SEEK_CUR);
		if (at < 0)
			return fault_set(f, -errno, "%s: %s", s->name, err_text(-errno));
		s->begin = (uint64_t)at;
		s->bytes = st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
	}
	return 0;
}

int statefile_open(struct statefile *s, const char *path, int writable, struct fault *f)
{
	size_t n = 0;
	*s = (struct statefile){ .name = path, .fd = -1 };
	int rc = open_file(s, path, writable, f);
	if (rc >= 0)
		rc = fill(s, &n, IMAGE_MAGIC_BYTES, f);
	if (rc < 0)
		return rc;
	if (image_is(s->front, n)) {
		rc = read_image(s, n, f);
		n = 0;
		if (rc < 0 || s->image.format != IMAGE_RAW)
			return rc;
	}
	return read_front(s, n, f);
}

void statefile_done(struct statefile *s)
{
	domain_free(s->domain);
	s->domain = NULL;
	fd_close(&s->fd);
}

/* ---- Pipes ---------------------------------------------------------------------------------- */

#define FEED_BYTES (256 * 1024)

/*
 * The thread that puts what was read already, and all that follows, into a pipe of our own, so that
 * the flow can read it from the beginning and without blocking.  One a process; never joined: it
 * may be waiting for a writer who never comes.
 */
static struct {
	int in, out;
	size_t front_bytes;
	uint8_t front[STREAM_FRONT_MAX], buffer[FEED_BYTES];
	atomic_int error;
} feed;

static void *feed_run(void *arg)
{
	(void)arg;
	int rc = fd_write_full(feed.out, feed.front, feed.front_bytes);
	while (rc >= 0) {
		ssize_t n = read(feed.in, feed.buffer, sizeof(feed.buffer));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			atomic_store(&feed.error, -errno);
		if (n <= 0)
			break;
		rc = fd_write_full(feed.out, feed.buffer, (size_t)n);
	}
	fd_close(&feed.out);
	return NULL;
}

static int feed_start(struct statefile *s)
{
	pthread_t thread;
	pthread_attr_t attr;
	sigset_t all, before;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(ends[1], F_SETPIPE_SZ, 4 * FEED_BYTES);
	int rc = fd_set_nonblock(ends[0], 1);
	feed.in = s->fd;
	feed.out = ends[1];
	feed.front_bytes = s->front_bytes;
	memcpy(feed.front, s->front, s->front_bytes);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (rc >= 0)
		rc = -pthread_create(&thread, &attr, feed_run, NULL);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc < 0) {
		close(ends[0]);
		close(ends[1]);
		return rc;
	}
	/* The thread's from now on. */
	s->fd = ends[0];
	return 0;
}

int statefile_stream(struct statefile *s, int *fd, struct fault *f)
{
	int rc = 0;
	if (!s->is_regular)
		rc = feed_start(s);
	else if (lseek(s->fd, (off_t)(s->begin + s->at), SEEK_SET) < 0)
		rc = -errno;
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", s->name, err_text(rc));
	*fd = s->fd;
	return 0;
}

int statefile_feed_error(void)
{
	return atomic_load(&feed.error);
}
