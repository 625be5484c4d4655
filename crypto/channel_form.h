/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What crypto/channel.c (records) and crypto/channel_tls.c (the handshake) share, and what tests
 * need to see an epoch end.  Private to crypto/.
 */
#ifndef SHIELDVM_CRYPTO_CHANNEL_FORM_H
#define SHIELDVM_CRYPTO_CHANNEL_FORM_H

#include "crypto/channel.h"
#include "crypto/ossl.h"

struct channel_keys {
	struct vm_key key;
	uint8_t vm[UUID_BYTES];
	SSL_CTX *source, *destination;
	BIO_METHOD *method;
	EVP_CIPHER *cipher; /* of the records */
};

#define CHANNEL_EPOCH_RECORDS (1U << 22)

/* A handshake: libssl over two small buffers, which outlives neither success nor failure. */
struct channel_tls;

/* ID NULL: the destination's side. */
int channel_tls_new(struct channel_keys *k, const struct channel_id *id,
		    struct channel_tls **out) MUST_CHECK;
void channel_tls_free(struct channel_tls *t);

/* Where input may be put; how much was. */
size_t channel_tls_in(struct channel_tls *t, uint8_t **at);
void channel_tls_in_done(struct channel_tls *t, size_t n);

/* Output that is to be sent; sent. */
size_t channel_tls_out(const struct channel_tls *t, const uint8_t **at);
void channel_tls_out_done(struct channel_tls *t, size_t n);

/* Go on with what input there is.  1: done, 0: more is needed (ENDED: and never comes), or an error
 * with its sentence. */
int channel_tls_step(struct channel_tls *t, int ended, struct fault *f) MUST_CHECK;

/* Done: which channel it is, the secrets of both directions, and the input behind the handshake. */
int channel_tls_result(struct channel_tls *t, struct channel_id *id, struct vm_key *source,
		       struct vm_key *destination) MUST_CHECK;
size_t channel_tls_rest(const struct channel_tls *t, const uint8_t **at);

/* Everything of K but the warming up.  ERR_CRYPTO; channel_keys_free() frees what there is. */
int channel_tls_setup(struct channel_keys *k) MUST_CHECK;
void channel_tls_teardown(struct channel_keys *k);

/* The PSK for ID.  ERR_CRYPTO. */
int channel_psk(const struct vm_key *key, const struct channel_id *id,
		uint8_t psk[static KEY_BYTES]) MUST_CHECK;

/* For tests: an open channel of VM that seals with SECRET, and opens nothing. */
int channel_for_test(const struct vm_key *secret, const uint8_t vm[static UUID_BYTES],
		     struct channel **out) MUST_CHECK;

/* For tests: as if both directions had come that far. */
int channel_skip(struct channel *c, uint64_t number) MUST_CHECK;

#endif
