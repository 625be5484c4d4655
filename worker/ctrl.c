/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/ctrl.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* TPM 1.2 result codes, which this protocol speaks (libtpms/tpm_error.h). */
enum result {
	RESULT_OK = 0,
	RESULT_BAD_PARAMETER = 0x03,
	RESULT_FAIL = 0x09,
	RESULT_BAD_ORDINAL = 0x0a,
	RESULT_KEY_NOT_FOUND = 0x0d,
	RESULT_SIZE = 0x17,
	RESULT_IO_ERROR = 0x1f,
	RESULT_DECRYPT_ERROR = 0x21,
	RESULT_BAD_LOCALITY = 0x3d,
	RESULT_RETRY = 0x800,
};

#define FLAG_ENCRYPTED	    2U	 /* of a state blob */
#define CONFIG_FLAG_KEY	    2U	 /* GET_CONFIG: blobs are sealed (swtpm's migration key) */
#define CONFIG_FLAG_FILEKEY 1U	 /* GET_CONFIG: so is the state on disk */
#define INFO_MAX	    3072 /* bytes of JSON in one GET_INFO reply */

#define CMD_BYTES	    4
#define HASH_HEADER	    (CMD_BYTES + 4)
#define SETSTATE_HEADER	    (CMD_BYTES + 12)
#define REQUEST_MAX	    (SETSTATE_HEADER + VTPM_BLOB_MAX)
#define REPLY_MAX	    (16 + VTPM_BLOB_MAX)
#define CHUNK_BYTES	    (64 * 1024)

struct ctrl {
	struct ctrl_config config;
	int fd;
	int data_fd;	/* came with the request; -1: none */
	struct buf in;	/* the request so far */
	struct buf out; /* the reply, of which out_sent bytes are sent */
	size_t out_sent;
	int64_t due_ms;	 /* when an incomplete request is given up; 0: none */
	int shutdown;	 /* CMD_SHUTDOWN was done */
	int close_after; /* the reply is the last thing that is said */

	/* The rest of a request whose body is not kept: hashed, or dropped. */
	enum { STREAM_NONE, STREAM_HASH, STREAM_DROP } stream;
	uint64_t stream_left;
	uint32_t stream_result;

	struct buf blob;    /* what GET_STATEBLOB gives, kept for reading it in pieces */
	uint32_t blob_type; /* 0: none is kept */
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

/* ---- replies ---- */

/* Append; the reply's memory is reserved before, so this cannot fail. */
static void put(struct ctrl *c, const void *p, size_t n)
{
	if (buf_add(&c->out, p, n) < 0)
		abort();
}

static void put32(struct ctrl *c, uint32_t v)
{
	v = htobe32(v);
	put(c, &v, sizeof(v));
}

static enum result result_of(int rc)
{
	switch (rc) {
	case -ENOENT:
		return RESULT_RETRY;
	case -ENOMEM:
	case ERR_LIMIT:
		return RESULT_SIZE;
	case ERR_STATE:
		return RESULT_BAD_ORDINAL;
	case ERR_RECIPIENT:
		return RESULT_KEY_NOT_FOUND;
	case ERR_AUTH:
	case ERR_VM:
	case ERR_PURPOSE:
	case ERR_VERSION:
	case ERR_FORMAT:
	case ERR_TRUNCATED:
	case ERR_TRAILING:
		return RESULT_DECRYPT_ERROR;
	default:
		if (rc >= 0)
			return RESULT_OK;
		return rc > ERR_AUTH ? RESULT_IO_ERROR : RESULT_FAIL;
	}
}

/* ---- the requests; each gets a body of the size that its row names, and appends the reply ---- */

static void do_capability(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	put32(c, RESULT_OK);
	put32(c, CTRL_CAPABILITIES);
}

static void do_init(struct ctrl *c, const uint8_t *body, size_t n)
{
	struct fault f = { 0 };
	(void)body;
	(void)n;
	int rc = vtpm_init(c->config.vtpm, &f);
	if (rc < 0)
		log_error("vTPM not started: %s", f.text);
	put32(c, result_of(rc));
}

static void do_stop(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	vtpm_stop(c->config.vtpm);
	put32(c, RESULT_OK);
}

static void do_shutdown(struct ctrl *c, const uint8_t *body, size_t n)
{
	do_stop(c, body, n);
	c->shutdown = 1;
}

static void do_get_established(struct ctrl *c, const uint8_t *body, size_t n)
{
	int bit = 0;
	(void)body;
	(void)n;
	put32(c, result_of(vtpm_get_established(c->config.vtpm, &bit)));
	put(c, (const uint8_t[4]){ (uint8_t)bit }, 4);
}

static void do_reset_established(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)n;
	int rc = vtpm_reset_established(c->config.vtpm, body[0]);
	put32(c, rc == ERR_LIMIT ? RESULT_BAD_LOCALITY : result_of(rc));
}

static void do_set_locality(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)n;
	int rc = ERR_LIMIT;
	if (body[0] != VTPM_LOCALITY_MAX || !c->config.reject_locality_4)
		rc = vtpm_set_locality(c->config.vtpm, body[0]);
	put32(c, rc < 0 ? RESULT_BAD_LOCALITY : RESULT_OK);
}

static void do_hash_start(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	put32(c, result_of(vtpm_hash_start(c->config.vtpm)));
}

static void do_hash_end(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	put32(c, result_of(vtpm_hash_end(c->config.vtpm)));
}

static void do_cancel(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	vtpm_cancel(c->config.vtpm);
	put32(c, RESULT_OK);
}

static void do_store_volatile(struct ctrl *c, const uint8_t *body, size_t n)
{
	struct fault f = { 0 };
	(void)body;
	(void)n;
	int rc = vtpm_store_volatile(c->config.vtpm, &f);
	if (rc < 0)
		log_error("volatile state not stored: %s", f.text[0] ? f.text : err_text(rc));
	put32(c, result_of(rc));
}

/* A blob that is read in pieces is one blob: it is made at offset 0 and kept. */
static int prepare_blob(struct ctrl *c, uint32_t type, uint32_t offset)
{
	if (offset && type == c->blob_type)
		return 0;
	buf_clear(&c->blob);
	c->blob_type = 0;
	int rc = vtpm_get_blob(c->config.vtpm, type, &c->blob);
	if (rc >= 0)
		c->blob_type = type;
	return rc;
}

static void do_get_stateblob(struct ctrl *c, const uint8_t *body, size_t n)
{
	/* body: flags, of which DECRYPTED is not granted when there is a key; type; offset */
	uint32_t type = get32(body + 4), offset = get32(body + 8);
	(void)n;
	int rc = prepare_blob(c, type, offset);
	size_t left = rc >= 0 && offset < c->blob.len ? c->blob.len - offset : 0;
	put32(c, rc == ERR_FORMAT ? RESULT_BAD_PARAMETER : result_of(rc));
	put32(c, rc >= 0 && vtpm_has_blob_key(c->config.vtpm) ? FLAG_ENCRYPTED : 0);
	put32(c, (uint32_t)left);
	put32(c, (uint32_t)left);
	if (left)
		put(c, c->blob.data + offset, left);
}

static void do_set_stateblob(struct ctrl *c, const uint8_t *body, size_t n)
{
	struct fault f = { 0 };
	uint32_t flags = get32(body), type = get32(body + 4);
	int rc = vtpm_set_blob(c->config.vtpm, type, (flags & FLAG_ENCRYPTED) != 0, body + 12,
			       n - 12, &f);
	if (rc < 0)
		log_warning("%s", f.text);
	put32(c, type < VTPM_BLOB_PERMANENT || type > VTPM_BLOB_SAVESTATE ? RESULT_BAD_PARAMETER
									  : result_of(rc));
}

static void do_get_config(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	put32(c, RESULT_OK);
	put32(c, vtpm_has_blob_key(c->config.vtpm) ? CONFIG_FLAG_FILEKEY | CONFIG_FLAG_KEY : 0);
}

static void do_set_datafd(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	if (data_busy(c->config.data)) {
		put32(c, RESULT_IO_ERROR);
		return;
	}
	int rc = c->data_fd < 0 ? -EBADF : data_start(c->config.data, c->data_fd);
	if (rc == 0)
		fd_take(&c->data_fd);
	put32(c, rc < 0 ? RESULT_BAD_PARAMETER : RESULT_OK);
}

static void do_set_buffersize(struct ctrl *c, const uint8_t *body, size_t n)
{
	uint32_t size, min, max;
	(void)n;
	int rc = vtpm_set_buffer_size(c->config.vtpm, get32(body), &size, &min, &max);
	put32(c, result_of(rc));
	if (rc < 0)
		return;
	put32(c, size);
	put32(c, min);
	put32(c, max);
}

static void do_get_info(struct ctrl *c, const uint8_t *body, size_t n)
{
	CLEANUP_BUF struct buf info = BUF_INIT(CHUNK_BYTES);
	uint64_t flags = (uint64_t)get32(body) << 32 | get32(body + 4);
	uint32_t offset = get32(body + 8);
	(void)n;
	int rc = vtpm_info(c->config.vtpm, flags, &info);
	if (rc < 0 || offset >= info.len - 1) {
		put32(c, rc < 0 ? result_of(rc) : RESULT_BAD_PARAMETER);
		return;
	}
	size_t left = info.len - offset;
	if (left > INFO_MAX)
		left = INFO_MAX;
	put32(c, RESULT_OK);
	put32(c, (uint32_t)info.len);
	put32(c, (uint32_t)left);
	put(c, info.data + offset, left);
}

static void do_lock_storage(struct ctrl *c, const uint8_t *body, size_t n)
{
	(void)body;
	(void)n;
	/* store_open() has locked it for the process's life. */
	put32(c, RESULT_OK);
}

/* ---- the table ---- */

enum body_rule { BODY_EXACT, BODY_AT_LEAST };
enum when { ANY_TIME, RUNNING, STOPPED };

static const struct request {
	void (*run)(struct ctrl *c, const uint8_t *body, size_t n);
	size_t body_bytes; /* for HASH_DATA and SET_STATEBLOB: of the header */
	enum body_rule rule;
	enum when when;
	size_t error_bytes; /* of an error reply; 0: 4.  QEMU waits for that many */
} requests[] = {
	[CTRL_GET_CAPABILITY] = { do_capability, 0, BODY_AT_LEAST, ANY_TIME },
	[CTRL_INIT] = { do_init, 4, BODY_EXACT, ANY_TIME },
	[CTRL_SHUTDOWN] = { do_shutdown, 0, BODY_EXACT, ANY_TIME },
	[CTRL_GET_TPMESTABLISHED] = { do_get_established, 0, BODY_EXACT, RUNNING, 8 },
	[CTRL_SET_LOCALITY] = { do_set_locality, 1, BODY_AT_LEAST, ANY_TIME },
	[CTRL_HASH_START] = { do_hash_start, 0, BODY_EXACT, RUNNING },
	[CTRL_HASH_DATA] = { NULL, 4, BODY_EXACT, RUNNING },
	[CTRL_HASH_END] = { do_hash_end, 0, BODY_EXACT, RUNNING },
	[CTRL_CANCEL] = { do_cancel, 0, BODY_EXACT, RUNNING },
	[CTRL_STORE_VOLATILE] = { do_store_volatile, 0, BODY_EXACT, RUNNING },
	[CTRL_RESET_TPMESTABLISHED] = { do_reset_established, 1, BODY_AT_LEAST, RUNNING },
	[CTRL_GET_STATEBLOB] = { do_get_stateblob, 12, BODY_AT_LEAST, RUNNING, 16 },
	[CTRL_SET_STATEBLOB] = { do_set_stateblob, 12, BODY_EXACT, STOPPED },
	[CTRL_STOP] = { do_stop, 0, BODY_EXACT, ANY_TIME },
	[CTRL_GET_CONFIG] = { do_get_config, 0, BODY_EXACT, ANY_TIME },
	[CTRL_SET_DATAFD] = { do_set_datafd, 0, BODY_AT_LEAST, ANY_TIME },
	[CTRL_SET_BUFFERSIZE] = { do_set_buffersize, 4, BODY_AT_LEAST, ANY_TIME },
	[CTRL_GET_INFO] = { do_get_info, 16, BODY_AT_LEAST, ANY_TIME },
	[CTRL_LOCK_STORAGE] = { do_lock_storage, 4, BODY_AT_LEAST, ANY_TIME },
};
_Static_assert(sizeof(requests) / sizeof(requests[0]) == CTRL_LOCK_STORAGE + 1,
	       "one row a command");

static const struct request *request_row(uint32_t cmd)
{
	return cmd >= CTRL_GET_CAPABILITY && cmd <= CTRL_LOCK_STORAGE ? &requests[cmd] : NULL;
}

uint64_t ctrl_request_bytes(const uint8_t *bytes, size_t n)
{
	if (n < CMD_BYTES)
		return CMD_BYTES;
	uint32_t cmd = get32(bytes);
	const struct request *r = request_row(cmd);
	if (!r)
		return CMD_BYTES;
	uint64_t need = CMD_BYTES + r->body_bytes;
	if (cmd == CTRL_HASH_DATA && n >= HASH_HEADER)
		need += get32(bytes + CMD_BYTES);
	if (cmd == CTRL_SET_STATEBLOB && n >= SETSTATE_HEADER)
		need += get32(bytes + CMD_BYTES + 8);
	return need;
}

static void put_error(struct ctrl *c, const struct request *r, enum result result)
{
	put32(c, result);
	for (size_t n = 4; r && n < r->error_bytes; n += 4)
		put32(c, 0);
}

static int wrong_state(const struct ctrl *c, const struct request *r)
{
	return r->when != ANY_TIME && (r->when == RUNNING) != vtpm_running(c->config.vtpm);
}

/* The request is over: nothing of it stays. */
static void request_done(struct ctrl *c)
{
	buf_clear(&c->in);
	fd_close(&c->data_fd);
	c->due_ms = 0;
	c->stream = STREAM_NONE;
}

/* A whole request is in c->in: reply to it. */
static void dispatch(struct ctrl *c, uint64_t need)
{
	uint32_t cmd = get32(c->in.data);
	const struct request *r = request_row(cmd);

	if (cmd != CTRL_GET_STATEBLOB) {
		buf_done(&c->blob);
		c->blob_type = 0;
	}
	if (!r)
		log_warning("unknown request 0x%x on the control channel", cmd);
	if (!r || wrong_state(c, r))
		put_error(c, r, RESULT_BAD_ORDINAL);
	else if (r->rule == BODY_EXACT && c->in.len != need)
		put_error(c, r, RESULT_BAD_PARAMETER);
	else
		r->run(c, c->in.data + CMD_BYTES, c->in.len - CMD_BYTES);
	request_done(c);
}

/* ---- bodies that are not kept ---- */

static void stream_feed(struct ctrl *c, const uint8_t *p, size_t n)
{
	if (n > c->stream_left) {
		n = (size_t)c->stream_left;
		c->stream_result = RESULT_BAD_PARAMETER;
	}
	if (c->stream == STREAM_HASH && c->stream_result == RESULT_OK && n)
		c->stream_result = result_of(vtpm_hash_data(c->config.vtpm, p, n));
	c->stream_left -= n;
	if (c->stream_left == 0) {
		put32(c, c->stream_result);
		request_done(c);
	}
}

/* The header in c->in asks for a body that is streamed: begin with what there is of it. */
static void stream_begin(struct ctrl *c, uint32_t cmd, uint64_t need)
{
	size_t header = cmd == CTRL_HASH_DATA ? HASH_HEADER : SETSTATE_HEADER;
	c->stream_left = need - header;
	c->stream = STREAM_DROP;
	c->stream_result = RESULT_SIZE;
	if (wrong_state(c, request_row(cmd))) {
		c->stream_result = RESULT_BAD_ORDINAL;
	} else if (cmd == CTRL_HASH_DATA) {
		c->stream = STREAM_HASH;
		c->stream_result = RESULT_OK;
	}
	if (c->stream == STREAM_DROP && c->stream_left > CTRL_SWALLOW_MAX) {
		put32(c, c->stream_result);
		c->close_after = 1;
		request_done(c);
		return;
	}
	CLEANUP_BUF struct buf rest = c->in;
	c->in = BUF_INIT(REQUEST_MAX + CHUNK_BYTES);
	stream_feed(c, rest.data + header, rest.len - header);
}

/* ---- the connection ---- */

int ctrl_new(const struct ctrl_config *config, int fd, struct ctrl **out)
{
	int rc = fd_set_nonblock(fd, 1);
	if (rc < 0)
		return rc;
	struct ctrl *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->config = *config;
	c->fd = fd;
	c->data_fd = -1;
	c->in = BUF_INIT(REQUEST_MAX + CHUNK_BYTES);
	c->out = BUF_INIT(REPLY_MAX);
	c->blob = BUF_INIT(VTPM_BLOB_MAX);
	*out = c;
	return 0;
}

void ctrl_free(struct ctrl *c)
{
	if (!c)
		return;
	fd_close(&c->fd);
	fd_close(&c->data_fd);
	buf_done(&c->in);
	buf_done(&c->out);
	buf_done(&c->blob);
	free(c);
}

int ctrl_fd(const struct ctrl *c)
{
	return c->fd;
}

short ctrl_events(const struct ctrl *c)
{
	return c->out.len ? POLLOUT : POLLIN;
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int ctrl_timeout_ms(const struct ctrl *c)
{
	if (!c->due_ms || c->out.len)
		return -1;
	int64_t left = c->due_ms - now_ms();
	return left > 0 ? (int)left : 0;
}

/* Send what is left of the reply.  1 if all is sent, 0 if the client must read first, -errno. */
static int flush(struct ctrl *c)
{
	while (c->out_sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent,
				 MSG_NOSIGNAL);
		if (n >= 0)
			c->out_sent += (size_t)n;
		else if (errno == EAGAIN)
			return 0;
		else if (errno != EINTR)
			return -errno;
	}
	/* A reply of ordinary size keeps its memory; a blob gives it back. */
	if (c->out.len > CHUNK_BYTES)
		buf_done(&c->out);
	else
		buf_clear(&c->out);
	c->out_sent = 0;
	return 1;
}

/* Add what has arrived, and the descriptor with it.  Bytes, 0 at the end, -errno. */
static ssize_t receive(struct ctrl *c)
{
	int fds[FD_PASS_MAX];
	size_t n_fds;
	int rc = buf_reserve(&c->in, CHUNK_BYTES);
	if (rc < 0)
		return rc;
	ssize_t n = fd_recv(c->fd, c->in.data + c->in.len, CHUNK_BYTES, fds, &n_fds);
	if (n < 0)
		return n;
	for (size_t i = 0; i < n_fds; i++) {
		if (c->data_fd < 0)
			c->data_fd = fd_take(&fds[i]);
		else
			fd_close(&fds[i]);
	}
	c->in.len += (size_t)n;
	return n;
}

/* Bytes have been added to c->in: go on with the request as far as they allow. */
static void advance(struct ctrl *c)
{
	c->due_ms = now_ms() + CTRL_STALL_MS;
	if (c->stream != STREAM_NONE) {
		CLEANUP_BUF struct buf chunk = c->in;
		c->in = BUF_INIT(REQUEST_MAX + CHUNK_BYTES);
		stream_feed(c, chunk.data, chunk.len);
		return;
	}
	uint64_t need = ctrl_request_bytes(c->in.data, c->in.len);
	uint32_t cmd = c->in.len >= CMD_BYTES ? get32(c->in.data) : 0;
	if ((cmd == CTRL_HASH_DATA && c->in.len >= HASH_HEADER) ||
	    (cmd == CTRL_SET_STATEBLOB && c->in.len >= SETSTATE_HEADER && need > REQUEST_MAX))
		stream_begin(c, cmd, need);
	else if (c->in.len >= need)
		dispatch(c, need);
}

enum ctrl_event ctrl_step(struct ctrl *c)
{
	int rc = 1;

	if (!c->out.len) {
		ssize_t n = receive(c);
		if (n == -EAGAIN)
			return c->due_ms && now_ms() >= c->due_ms ? CTRL_CLOSED : CTRL_OPEN;
		if (n <= 0)
			return CTRL_CLOSED;
		advance(c);
	}
	if (c->out.len)
		rc = flush(c);
	if (rc == 1 && c->shutdown)
		return CTRL_SHUTDOWN_ASKED;
	if (rc < 0 || (rc == 1 && c->close_after))
		return CTRL_CLOSED;
	return CTRL_OPEN;
}
