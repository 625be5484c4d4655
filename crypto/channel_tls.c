/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake of a migration channel: docs/FORMAT.md, "Handshake".
 *
 * An identity that this end does not know gets a random PSK and runs into the same alert as a wrong
 * key, after the same derivation, so that nobody learns from outside which VM is awaited here.
 */
#include <errno.h>

#include "crypto/channel_form.h"

#define SUITE		  "TLS_AES_256_GCM_SHA384"
#define GROUP		  "X25519"
#define LABEL_SOURCE	  "EXPERIMENTAL shieldvm/1/source"
#define LABEL_DESTINATION "EXPERIMENTAL shieldvm/1/destination"

static const uint8_t SUITE_ID[] = { 0x13, 0x02 };

struct channel_tls {
	struct channel_keys *keys;
	SSL *ssl;
	struct channel_id id;
	uint8_t identity[CHANNEL_ID_BYTES]; /* source */
	int is_source, asked;		    /* asked: a client named an identity */
	struct fault stranger;		    /* why the identity is none of ours; rc 0: it is */
	size_t in_have, in_done, out_have, out_done;
	uint8_t in[CHANNEL_HANDSHAKE_MAX], out[CHANNEL_HANDSHAKE_MAX];
};

/* ---- libssl's input and output ---- */

static int bio_write(BIO *b, const char *src, int n)
{
	struct channel_tls *t = BIO_get_data(b);
	if (n < 0 || (size_t)n > sizeof(t->out) - t->out_have)
		return -1;
	memcpy(t->out + t->out_have, src, (size_t)n);
	t->out_have += (size_t)n;
	return n;
}

static int bio_read(BIO *b, char *dst, int n)
{
	struct channel_tls *t = BIO_get_data(b);
	size_t have = t->in_have - t->in_done;
	BIO_clear_retry_flags(b);
	if (have == 0) {
		BIO_set_retry_read(b);
		return -1;
	}
	if ((size_t)n < have)
		have = (size_t)n;
	memcpy(dst, t->in + t->in_done, have);
	t->in_done += have;
	return (int)have;
}

static long bio_ctrl(BIO *b, int command, long n, void *p)
{
	(void)b;
	(void)n;
	(void)p;
	return command == BIO_CTRL_FLUSH;
}

/* ---- the PSK ---- */

/* A session as libssl wants a PSK to be; NULL if it cannot be made. */
static SSL_SESSION *session(SSL *ssl, const struct vm_key *key, const struct channel_id *id)
{
	struct vm_key psk;
	SSL_SESSION *s = SSL_SESSION_new();
	const SSL_CIPHER *suite = SSL_CIPHER_find(ssl, SUITE_ID);
	int ok = s && suite && channel_psk(key, id, psk.bytes) == 0 &&
		 SSL_SESSION_set1_master_key(s, psk.bytes, KEY_BYTES) == 1 &&
		 SSL_SESSION_set_cipher(s, suite) == 1 &&
		 SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) == 1;
	key_done(&psk);
	if (!ok) {
		SSL_SESSION_free(s);
		return NULL;
	}
	return s;
}

static int use_psk(SSL *ssl, const EVP_MD *md, const uint8_t **identity, size_t *n,
		   SSL_SESSION **out)
{
	struct channel_tls *t = SSL_get_app_data(ssl);
	(void)md;
	*out = session(ssl, &t->keys->key, &t->id);
	*identity = t->identity;
	*n = sizeof(t->identity);
	return *out != NULL;
}

static int find_psk(SSL *ssl, const uint8_t *identity, size_t n, SSL_SESSION **out)
{
	struct channel_tls *t = SSL_get_app_data(ssl);
	CLEANUP_KEY struct vm_key nobodys = { { 0 } };
	struct channel_id id = { .kind = CHANNEL_MEMORY };
	t->asked = 1;
	int rc = channel_id_parse(identity, n, &id, &t->stranger);
	if (rc >= 0 && memcmp(id.vm, t->keys->vm, UUID_BYTES) != 0) {
		char theirs[UUID_TEXT_SIZE];
		uuid_format(id.vm, theirs);
		rc = fault_set(&t->stranger, ERR_VM, "a channel of VM %s", theirs);
	}
	if (key_new(&nobodys) < 0)
		return 0;
	*out = session(ssl, rc < 0 ? &nobodys : &t->keys->key, &id);
	t->id = id;
	return *out != NULL;
}

/* ---- contexts ---- */

/* One profile for both sides. */
static SSL_CTX *context(const SSL_METHOD *method)
{
	SSL_CTX *c = SSL_CTX_new(method);
	if (!c)
		return NULL;
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_clear_options(c, SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_psk_use_session_callback(c, use_psk);
	SSL_CTX_set_psk_find_session_callback(c, find_psk);
	if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(c, SUITE) != 1 || SSL_CTX_set1_groups_list(c, GROUP) != 1 ||
	    SSL_CTX_set_num_tickets(c, 0) != 1 || SSL_CTX_set_max_early_data(c, 0) != 1 ||
	    SSL_CTX_set_recv_max_early_data(c, 0) != 1) {
		SSL_CTX_free(c);
		return NULL;
	}
	return c;
}

int channel_tls_setup(struct channel_keys *k)
{
	/* Without openssl.cnf: what a channel is does not depend on it. */
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
		return ERR_CRYPTO;
	k->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "channel");
	if (!k->method || BIO_meth_set_write(k->method, bio_write) != 1 ||
	    BIO_meth_set_read(k->method, bio_read) != 1 ||
	    BIO_meth_set_ctrl(k->method, bio_ctrl) != 1)
		return ERR_CRYPTO;
	k->source = context(TLS_client_method());
	k->destination = context(TLS_server_method());
	if (!k->source || !k->destination)
		return ERR_CRYPTO;
	/* For a server that has a certificate instead of the PSK: none is ever good. */
	SSL_CTX_set_verify(k->source, SSL_VERIFY_PEER, NULL);
	return 0;
}

void channel_tls_teardown(struct channel_keys *k)
{
	SSL_CTX_free(k->source);
	SSL_CTX_free(k->destination);
	BIO_meth_free(k->method);
}

/* ---- one handshake ---- */

int channel_tls_new(struct channel_keys *k, const struct channel_id *id, struct channel_tls **out)
{
	struct channel_tls *t = calloc(1, sizeof(*t));
	BIO *bio = BIO_new(k->method);
	if (!t || !bio)
		goto no_memory;
	t->keys = k;
	t->is_source = id != NULL;
	t->ssl = SSL_new(id ? k->source : k->destination);
	if (!t->ssl)
		goto no_memory;
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	if (id) {
		t->id = *id;
		channel_id_encode(id, t->identity);
		SSL_set_connect_state(t->ssl);
	} else {
		SSL_set_accept_state(t->ssl);
	}
	*out = t;
	return 0;
no_memory:
	BIO_free(bio);
	free(t);
	return -ENOMEM;
}

void channel_tls_free(struct channel_tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	wipe_free(t, sizeof(*t));
}

size_t channel_tls_in(struct channel_tls *t, uint8_t **at)
{
	*at = t->in + t->in_have;
	return sizeof(t->in) - t->in_have;
}

void channel_tls_in_done(struct channel_tls *t, size_t n)
{
	t->in_have += n;
}

size_t channel_tls_out(const struct channel_tls *t, const uint8_t **at)
{
	*at = t->out + t->out_done;
	return t->out_have - t->out_done;
}

void channel_tls_out_done(struct channel_tls *t, size_t n)
{
	t->out_done += n;
}

size_t channel_tls_rest(const struct channel_tls *t, const uint8_t **at)
{
	*at = t->in + t->in_done;
	return t->in_have - t->in_done;
}

/* What a peer sends first: a handshake record, or an alert.  libssl would let some other versions
 * pass, which nobody sends. */
static int begins_well(const struct channel_tls *t)
{
	static const uint8_t CLIENT[] = { 0x16, 0x03, 0x01 }, SERVER[] = { 0x16, 0x03, 0x03 },
			     ALERT[] = { 0x15, 0x03, 0x03 };
	size_t n = t->in_have < sizeof(CLIENT) ? t->in_have : sizeof(CLIENT);
	if (t->is_source)
		return memcmp(t->in, SERVER, n) == 0 || memcmp(t->in, ALERT, n) == 0;
	return memcmp(t->in, CLIENT, n) == 0;
}

/* Why libssl has given up, from its error queue, which is then empty. */
static int tell_why(struct channel_tls *t, struct fault *f)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_REASON(e);
	const char *text = ERR_reason_error_string(e);
	ERR_clear_error();
	if (reason == ERR_R_MALLOC_FAILURE)
		return fault_set(f, -ENOMEM, "no memory for a handshake");
	if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_UNEXPECTED_MESSAGE ||
	    reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION)
		return fault_set(f, ERR_VERSION,
				 "the other end speaks another TLS: it is no shieldvm worker");
	if (t->is_source)
		return fault_set(f, ERR_AUTH,
				 "the other end did not prove that it has this VM's key: it is no "
				 "shieldvm worker of this VM (%s)",
				 text ? text : "no reason given");
	if (t->stranger.rc < 0)
		return fault_set(f, ERR_AUTH,
				 "the other end asked for what is not awaited here: %s",
				 t->stranger.text);
	return fault_set(f, ERR_AUTH, "the other end did not prove that it has this VM's key (%s)",
			 !t->asked ? "it named none"
			 : text	   ? text
				   : "no reason given");
}

int channel_tls_step(struct channel_tls *t, int ended, struct fault *f)
{
	if (!begins_well(t))
		return fault_set(f, ERR_FORMAT,
				 "the other end is no shieldvm worker: what it sends is not the "
				 "handshake of a migration channel");
	ERR_clear_error();
	int r = SSL_do_handshake(t->ssl);
	if (r == 1) {
		/* Both are so by the contexts' making; nothing is sent if they are not. */
		if (!SSL_session_reused(t->ssl) || SSL_version(t->ssl) != TLS1_3_VERSION)
			return fault_set(f, ERR_AUTH, "a handshake without this VM's key");
		return 1;
	}
	if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ)
		return tell_why(t, f);
	if (ended)
		return fault_set(f, ERR_TRUNCATED,
				 t->is_source ? "the other end closed the connection in the "
						"handshake: it is no shieldvm worker of this VM"
					      : "the connection ended in the handshake");
	if (t->in_have == sizeof(t->in))
		return fault_set(f, ERR_LIMIT, "a handshake of more than %d bytes",
				 CHANNEL_HANDSHAKE_MAX);
	return 0;
}

static int export(SSL *ssl, const char *label, struct vm_key *out)
{
	return SSL_export_keying_material(ssl, out->bytes, KEY_BYTES, label, strlen(label), NULL, 0,
					  0) == 1
		       ? 0
		       : ERR_CRYPTO;
}

int channel_tls_result(struct channel_tls *t, struct channel_id *id, struct vm_key *source,
		       struct vm_key *destination)
{
	*id = t->id;
	int rc = export(t->ssl, LABEL_SOURCE, source);
	return rc < 0 ? rc : export(t->ssl, LABEL_DESTINATION, destination);
}
