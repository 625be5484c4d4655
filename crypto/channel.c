/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/channel.h"

#include <errno.h>

#include "crypto/channel_form.h"
#include "crypto/record.h"

/* A record's prefix goes right in front of a cache line, so that its plaintext is aligned. */
#define LINE	  64
#define LEAD	  (LINE - RECORD_PREFIX_BYTES)
#define EXTRA	  (RECORD_PREFIX_BYTES + RECORD_TAG_BYTES)
#define WHOLE	  (CHANNEL_RECORD_BYTES + EXTRA)
#define OUT_BYTES (LEAD + WHOLE)
#define IN_BYTES  (2 * WHOLE) /* one that is being taken, one that comes in */

_Static_assert(OUT_BYTES + IN_BYTES + 8192 < CHANNEL_OPEN_BYTES_MAX, "as the header says");

#define WORD (RECORD_FINAL >> 1) /* in a record's prefix: it is the workers' */

/* One direction's records. */
struct direction {
	struct vm_key secret;
	struct record_keys keys; /* of the present epoch; only .aes is used */
	EVP_CIPHER_CTX *ctx;
	uint64_t number; /* of the next record */
	int ended;	 /* the final one was made, or has come */
};

struct channel {
	struct channel_keys *keys;
	enum channel_state state;
	struct fault fault;
	struct channel_tls *tls; /* until it is open and the handshake's last bytes are out */
	struct channel_id id;
	int is_source, in_ended;

	struct direction send, recv;
	uint8_t *out, *in;	    /* OUT_BYTES, IN_BYTES, once open */
	size_t out_used, in_used;   /* how much of them was ever written to */
	size_t out_done, out_have;  /* in OUT, to be written */
	size_t in_done, in_have;    /* in IN, not opened yet */
	size_t plain_at, plain_len; /* in IN, opened and not taken yet */
	int plain_is_word;
};

static void direction_done(struct direction *d)
{
	EVP_CIPHER_CTX_free(d->ctx);
	wipe(d, sizeof(*d));
}

/* Once it is open and all of the handshake is out, libssl has nothing more to do with it. */
static void drop_tls(struct channel *c)
{
	const uint8_t *at;
	if (c->state != CHANNEL_OPEN || !c->tls || channel_tls_out(c->tls, &at))
		return;
	channel_tls_free(c->tls);
	c->tls = NULL;
}

static void fail(struct channel *c, int rc)
{
	c->fault.rc = rc;
	c->state = CHANNEL_FAILED;
	c->plain_len = 0;
	direction_done(&c->send);
	direction_done(&c->recv);
}

/* ---- records ---- */

/* The key of the epoch that D's next record is in. */
static int next_key(struct channel *c, struct direction *d)
{
	uint64_t epoch = d->number / CHANNEL_EPOCH_RECORDS;
	uint8_t context[8];
	record_put_be32(context, (uint32_t)(epoch >> 32));
	record_put_be32(context + 4, (uint32_t)epoch);
	return key_derive(&d->secret, KEY_USE_CHANNEL_RECORDS, c->id.vm, NULL, 0, context,
			  sizeof(context), d->keys.aes, sizeof(d->keys.aes));
}

static void note_used(size_t *used, size_t n)
{
	if (n > *used)
		*used = n;
}

/* MARKS: RECORD_FINAL, WORD, or 0. */
static int seal(struct channel *c, size_t n, uint32_t marks)
{
	struct direction *d = &c->send;
	uint8_t *record = c->out + LEAD;
	uint32_t number = (uint32_t)(d->number % CHANNEL_EPOCH_RECORDS);
	note_used(&c->out_used, LEAD + EXTRA + n);
	if (c->state != CHANNEL_OPEN || d->ended || c->out_have > c->out_done)
		return ERR_STATE;
	record_put_be32(record, marks | (uint32_t)n);
	int rc = number == 0 ? next_key(c, d) : 0;
	if (rc >= 0)
		rc = record_encrypt(d->ctx, c->keys->cipher, &d->keys, number, record,
				    record + RECORD_PREFIX_BYTES, n, record + RECORD_PREFIX_BYTES);
	if (rc < 0) {
		fail(c, fault_set(&c->fault, rc, "a record cannot be sealed"));
		return rc;
	}
	d->number++;
	d->ended = marks == RECORD_FINAL;
	c->out_done = LEAD;
	c->out_have = LEAD + EXTRA + n;
	return 0;
}

/* Open the record of N bytes at IN_DONE, which is whole. */
static int unseal(struct channel *c, size_t n, uint32_t marks)
{
	struct direction *d = &c->recv;
	uint8_t *record = c->in + c->in_done;
	uint32_t number = (uint32_t)(d->number % CHANNEL_EPOCH_RECORDS);
	int rc = number == 0 ? next_key(c, d) : 0;
	if (rc < 0)
		return fault_set(&c->fault, rc, "a record cannot be opened");
	if (!record_decrypt(d->ctx, c->keys->cipher, &d->keys, number, record,
			    record + RECORD_PREFIX_BYTES, n, record + RECORD_PREFIX_BYTES))
		return fault_set(&c->fault, ERR_AUTH,
				 "record %llu is not authentic: it was altered on its way",
				 (unsigned long long)d->number);
	d->number++;
	d->ended = marks == RECORD_FINAL;
	c->plain_is_word = marks == WORD;
	c->plain_at = c->in_done + RECORD_PREFIX_BYTES;
	c->plain_len = n;
	c->in_done += EXTRA + n;
	return 0;
}

static int cut_off(struct channel *c)
{
	return fault_set(&c->fault, ERR_TRUNCATED,
			 "the connection ended in record %llu, before the other end had ended it",
			 (unsigned long long)c->recv.number);
}

/* Open the next record if it is there. */
static int next_record(struct channel *c)
{
	size_t have = c->in_have - c->in_done;
	if (c->recv.ended)
		return have == 0 ? 0
				 : fault_set(&c->fault, ERR_TRAILING,
					     "there are bytes behind the final record");
	if (have < RECORD_PREFIX_BYTES)
		return c->in_ended ? cut_off(c) : 0;
	uint32_t word = record_get_be32(c->in + c->in_done);
	uint32_t marks = word & (RECORD_FINAL | WORD);
	size_t n = word & ~(RECORD_FINAL | WORD);
	int is_word = marks & WORD;
	if (n > CHANNEL_RECORD_BYTES || (n == 0) != (marks == RECORD_FINAL) ||
	    (is_word && (n != 1 || marks != WORD || !channel_id_first(&c->id))))
		return fault_set(&c->fault, ERR_FORMAT, "record %llu says it is a %s of %zu bytes",
				 (unsigned long long)c->recv.number,
				 is_word		 ? "word"
				 : marks == RECORD_FINAL ? "final record"
							 : "record",
				 n);
	if (have < EXTRA + n)
		return c->in_ended ? cut_off(c) : 0;
	return unseal(c, n, marks);
}

/* ---- the life of a channel ---- */

static int direction_begin(struct direction *d, const struct vm_key *secret)
{
	d->secret = *secret;
	d->ctx = EVP_CIPHER_CTX_new();
	return d->ctx ? 0 : -ENOMEM;
}

/* Open, with these secrets. */
static int begin(struct channel *c, const struct vm_key *send, const struct vm_key *recv)
{
	/* Not calloc(3): most of it is never touched where a channel lives for a moment only. */
	c->out = malloc(OUT_BYTES);
	c->in = malloc(IN_BYTES);
	if (!c->out || !c->in || direction_begin(&c->send, send) < 0 ||
	    direction_begin(&c->recv, recv) < 0)
		return -ENOMEM;
	c->state = CHANNEL_OPEN;
	return 0;
}

/* The handshake is done. */
static int become_open(struct channel *c)
{
	CLEANUP_KEY struct vm_key source = { { 0 } }, destination = { { 0 } };
	const uint8_t *rest;
	int rc = channel_tls_result(c->tls, &c->id, &source, &destination);
	if (rc < 0)
		return fault_set(&c->fault, rc, "a channel's secrets cannot be derived");
	rc = c->is_source ? begin(c, &source, &destination) : begin(c, &destination, &source);
	if (rc < 0)
		return fault_set(&c->fault, rc, "no memory for a channel");
	c->in_have = channel_tls_rest(c->tls, &rest);
	note_used(&c->in_used, c->in_have);
	memcpy(c->in, rest, c->in_have);
	return 0;
}

static void handshake(struct channel *c)
{
	int rc = channel_tls_step(c->tls, c->in_ended, &c->fault);
	if (rc == 1)
		rc = become_open(c);
	if (rc < 0)
		fail(c, rc);
	drop_tls(c);
}

static int make(struct channel_keys *k, const struct channel_id *id, struct channel **out)
{
	struct channel *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->keys = k;
	c->is_source = id != NULL;
	int rc = channel_tls_new(k, id, &c->tls);
	if (rc >= 0 && id) {
		handshake(c);
		rc = c->fault.rc;
	}
	if (rc < 0) {
		channel_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int channel_source(struct channel_keys *k, const struct channel_id *id, struct channel **out)
{
	uint8_t bytes[CHANNEL_ID_BYTES];
	struct channel_id again;
	channel_id_encode(id, bytes);
	if (channel_id_parse(bytes, sizeof(bytes), &again, NULL) < 0 ||
	    memcmp(id->vm, k->vm, UUID_BYTES) != 0)
		return ERR_USAGE;
	return make(k, id, out);
}

int channel_destination(struct channel_keys *k, struct channel **out)
{
	return make(k, NULL, out);
}

void channel_free(struct channel *c)
{
	if (!c)
		return;
	channel_tls_free(c->tls);
	direction_done(&c->send);
	direction_done(&c->recv);
	wipe_free(c->out, c->out_used);
	wipe_free(c->in, c->in_used);
	wipe_free(c, sizeof(*c));
}

enum channel_state channel_state(const struct channel *c)
{
	return c->state;
}

const struct fault *channel_fault(const struct channel *c)
{
	return &c->fault;
}

const struct channel_id *channel_id(const struct channel *c)
{
	return c->in ? &c->id : NULL;
}

/* ---- the network's side ---- */

size_t channel_in(struct channel *c, uint8_t **at)
{
	if (c->state == CHANNEL_OPENING)
		return channel_tls_in(c->tls, at);
	if (c->state == CHANNEL_FAILED || c->in_ended)
		return 0;
	size_t from = c->plain_len ? c->plain_at : c->in_done;
	if (from == c->in_have || (from > 0 && IN_BYTES - c->in_have < WHOLE)) {
		memmove(c->in, c->in + from, c->in_have - from);
		c->in_have -= from;
		c->in_done -= from;
		c->plain_at -= c->plain_len ? from : 0;
	}
	*at = c->in + c->in_have;
	return IN_BYTES - c->in_have;
}

void channel_in_done(struct channel *c, size_t n)
{
	if (c->state == CHANNEL_OPEN)
		c->in_have += n;
	note_used(&c->in_used, c->in_have);
	if (c->state != CHANNEL_OPENING)
		return;
	channel_tls_in_done(c->tls, n);
	handshake(c);
}

void channel_in_end(struct channel *c)
{
	c->in_ended = 1;
	if (c->state == CHANNEL_OPENING)
		handshake(c);
}

size_t channel_out(const struct channel *c, const uint8_t **at)
{
	if (c->tls) {
		size_t n = channel_tls_out(c->tls, at);
		if (n)
			return n;
	}
	if (c->state != CHANNEL_OPEN)
		return 0;
	*at = c->out + c->out_done;
	return c->out_have - c->out_done;
}

void channel_out_done(struct channel *c, size_t n)
{
	const uint8_t *at;
	if (c->tls && channel_tls_out(c->tls, &at)) {
		channel_tls_out_done(c->tls, n);
		drop_tls(c);
		return;
	}
	c->out_done += n;
}

/* ---- QEMU's side ---- */

size_t channel_send(struct channel *c, uint8_t **at)
{
	if (c->state != CHANNEL_OPEN || c->send.ended || c->out_have > c->out_done)
		return 0;
	*at = c->out + LINE;
	return CHANNEL_RECORD_BYTES;
}

int channel_send_done(struct channel *c, size_t n)
{
	return n > 0 && n <= CHANNEL_RECORD_BYTES ? seal(c, n, 0) : ERR_USAGE;
}

int channel_send_end(struct channel *c)
{
	return seal(c, 0, RECORD_FINAL);
}

int channel_send_word(struct channel *c, uint8_t word)
{
	uint8_t *at;
	if (!channel_id_first(&c->id))
		return ERR_USAGE;
	if (!channel_send(c, &at))
		return ERR_STATE;
	*at = word;
	return seal(c, 1, WORD);
}

int channel_send_ended(const struct channel *c)
{
	return c->send.ended;
}

size_t channel_recv(struct channel *c, const uint8_t **at)
{
	if (c->state == CHANNEL_OPEN && c->plain_len == 0) {
		int rc = next_record(c);
		if (rc < 0)
			fail(c, rc);
	}
	*at = c->plain_len ? c->in + c->plain_at : NULL;
	return c->plain_len;
}

void channel_recv_done(struct channel *c, size_t n)
{
	c->plain_at += n;
	c->plain_len -= n;
}

size_t channel_recv_left(const struct channel *c)
{
	return c->plain_len;
}

int channel_recv_is_word(const struct channel *c)
{
	return c->plain_len > 0 && c->plain_is_word;
}

int channel_recv_ended(const struct channel *c)
{
	return c->state == CHANNEL_OPEN && c->recv.ended && c->plain_len == 0;
}

int channel_for_test(const struct vm_key *secret, const uint8_t vm[static UUID_BYTES],
		     struct channel **out)
{
	static struct channel_keys cipher_only;
	struct channel *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	if (!cipher_only.cipher)
		cipher_only.cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	c->keys = &cipher_only;
	memcpy(c->id.vm, vm, UUID_BYTES);
	c->id.kind = CHANNEL_MEMORY;
	int rc = cipher_only.cipher ? begin(c, secret, secret) : ERR_CRYPTO;
	if (rc < 0) {
		channel_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int channel_skip(struct channel *c, uint64_t number)
{
	c->send.number = c->recv.number = number;
	int rc = next_key(c, &c->send);
	return rc < 0 ? rc : next_key(c, &c->recv);
}

/* ---- keys ---- */

/* Everything that A has goes to B. */
static void carry(struct channel *a, struct channel *b)
{
	const uint8_t *src;
	uint8_t *dst;
	size_t n = channel_out(a, &src), room = channel_in(b, &dst);
	if (n > room)
		n = room;
	if (n == 0)
		return;
	memcpy(dst, src, n);
	channel_out_done(a, n);
	channel_in_done(b, n);
}

/* A channel from here to here, with a record and an end each way: what is loaded at first use, the
 * sealed process has then. */
static int warm_up(struct channel_keys *k)
{
	struct channel *a = NULL, *b = NULL;
	struct channel_id id = { .kind = CHANNEL_MEMORY };
	memcpy(id.vm, k->vm, UUID_BYTES);
	int rc = channel_attempt_new(id.attempt);
	if (rc >= 0)
		rc = channel_source(k, &id, &a);
	if (rc >= 0)
		rc = channel_destination(k, &b);
	for (int i = 0; rc >= 0 && i < 4; i++) {
		carry(a, b);
		carry(b, a);
	}
	for (int i = 0; rc >= 0 && i < 4; i++) {
		struct channel *from = i & 1 ? a : b, *to = i & 1 ? b : a;
		const uint8_t *got;
		uint8_t *at;
		size_t n = 0;
		if (channel_send(from, &at)) {
			*at = 1;
			rc = i < 2 ? channel_send_done(from, 1) : channel_send_end(from);
			carry(from, to);
			n = channel_recv(to, &got);
			channel_recv_done(to, n);
		}
		if (rc >= 0 && (i < 2 ? n != 1 : !channel_recv_ended(to)))
			rc = ERR_CRYPTO;
	}
	channel_free(a);
	channel_free(b);
	return rc;
}

int channel_keys_new(const struct vm_key *key, const uint8_t vm[static UUID_BYTES],
		     struct channel_keys **out, struct fault *f)
{
	struct channel_keys *k = calloc(1, sizeof(*k));
	if (!k)
		return fault_set(f, -ENOMEM, "no memory for migration channels");
	k->key = *key;
	memcpy(k->vm, vm, UUID_BYTES);
	k->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	int rc = k->cipher ? channel_tls_setup(k) : ERR_CRYPTO;
	if (rc >= 0)
		rc = warm_up(k);
	if (rc < 0) {
		channel_keys_free(k);
		return fault_set(f, rc, "migration channels cannot be made: libssl does not work");
	}
	*out = k;
	return 0;
}

void channel_keys_free(struct channel_keys *k)
{
	if (!k)
		return;
	channel_tls_teardown(k);
	EVP_CIPHER_free(k->cipher);
	wipe_free(k, sizeof(*k));
}
