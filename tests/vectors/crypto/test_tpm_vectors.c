/* SPDX-License-Identifier: BSD-3-Clause */
/* Holds crypto/'s key derivations, credentials and HPKE against what make_tpm.py has written. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#include "crypto/credential_form.h"
#include "crypto/hpke_form.h"

#define FIELDS_MAX 8
#define LINE_BYTES 16384

static const char *folder;

/* A line's fields: the bytes of each that is in hex. */
struct fields {
	char *text[FIELDS_MAX];
	struct buf bytes[FIELDS_MAX];
	size_t n;
};

static void take(struct fields *l, char *line)
{
	*l = (struct fields){ 0 };
	line[strcspn(line, "\n")] = '\0';
	for (char *save, *p = strtok_r(line, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		assert_true(l->n < FIELDS_MAX);
		struct buf *b = &l->bytes[l->n];
		*b = BUF_INIT(LINE_BYTES);
		unsigned byte;
		for (const char *h = p; sscanf(h, "%2x", &byte) == 1; h += 2) {
			uint8_t one = (uint8_t)byte;
			assert_int_equal(buf_add(b, &one, 1), 0);
		}
		l->text[l->n++] = p;
	}
}

static void drop(struct fields *l)
{
	for (size_t i = 0; i < l->n; i++)
		buf_done(&l->bytes[i]);
}

static uint16_t number(const struct buf *b)
{
	assert_int_equal(b->len, 2);
	return (uint16_t)(b->data[0] << 8 | b->data[1]);
}

static struct hash_part part(const struct buf *b)
{
	return (struct hash_part){ b->data, b->len };
}

static struct hpke_text text(const struct buf *b)
{
	return (struct hpke_text){ b->data, b->len };
}

static void same(const uint8_t *got, size_t n, const struct buf *want)
{
	assert_int_equal(n, want->len);
	assert_memory_equal(got, want->data, n);
}

/* algorithm, key or Z, label, U, V, what comes out */
static void kdf_case(struct fields *l)
{
	uint8_t out[256];
	char label[32] = { 0 };
	struct hash_part key = part(&l->bytes[2]), u = part(&l->bytes[4]), v = part(&l->bytes[5]);
	size_t n = l->bytes[6].len;
	memcpy(label, l->bytes[3].data, l->bytes[3].len);
	int rc = strcmp(l->text[0], "kdfa") == 0
			 ? credential_kdfa(number(&l->bytes[1]), &key, label, &u, &v, out, n)
			 : credential_kdfe(number(&l->bytes[1]), &key, label, &u, &v, out, n);
	assert_int_equal(rc, 0);
	same(out, n, &l->bytes[6]);
}

/* algorithm, AES bits, seed, name, secret, TPM2B_ID_OBJECT */
static void id_object_case(struct fields *l)
{
	CLEANUP_BUF struct buf out = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	struct credential_ek ek = { .name_alg = number(&l->bytes[1]),
				    .aes_bits = number(&l->bytes[2]) };
	assert_int_equal(credential_seal(&ek, l->bytes[3].data, l->bytes[4].data, l->bytes[4].len,
					 l->bytes[5].data, &out),
			 0);
	same(out.data, out.len, &l->bytes[6]);
}

/* DH, enc, recipient's point, secret */
static void kem_case(struct fields *l)
{
	uint8_t secret[HPKE_SECRET_BYTES];
	assert_int_equal(
		hpke_kem_secret(l->bytes[1].data, l->bytes[2].data, l->bytes[3].data, secret), 0);
	same(secret, sizeof(secret), &l->bytes[4]);
}

/* secret, info, key, nonce */
static void schedule_case(struct fields *l)
{
	struct hpke_schedule s;
	assert_int_equal(hpke_key_schedule(l->bytes[1].data, text(&l->bytes[2]), &s), 0);
	same(s.key, sizeof(s.key), &l->bytes[3]);
	same(s.nonce, sizeof(s.nonce), &l->bytes[4]);
}

static int open_sealed(struct fields *l, const struct buf *sealed, struct buf *out)
{
	CLEANUP_JWK struct jwk *k = NULL;
	struct ecdh ecdh;
	struct fault f = { 0 };
	assert_int_equal(jwk_parse(l->text[1], strlen(l->text[1]), &k, &f), 0);
	assert_int_equal(ecdh_from_jwk(k, &ecdh), 0);
	int rc = hpke_open(&ecdh, l->bytes[2].data, text(&l->bytes[3]), text(&l->bytes[4]),
			   text(sealed), out, &f);
	assert_int_equal(f.rc, rc);
	return rc;
}

/* recipient's JWK, its point, info, aad, plaintext, sealed */
static void hpke_case(struct fields *l)
{
	CLEANUP_BUF struct buf out = BUF_INIT(LINE_BYTES);
	CLEANUP_BUF struct buf again = BUF_INIT(LINE_BYTES);
	CLEANUP_BUF struct buf sealed = BUF_INIT(LINE_BYTES);
	assert_int_equal(open_sealed(l, &l->bytes[6], &out), 0);
	same(out.data, out.len, &l->bytes[5]);
	/* And what this side seals, each time with another key. */
	assert_int_equal(hpke_seal(l->bytes[2].data, text(&l->bytes[3]), text(&l->bytes[4]),
				   text(&l->bytes[5]), &sealed, NULL),
			 0);
	assert_int_equal(sealed.len, l->bytes[6].len);
	assert_memory_not_equal(sealed.data, l->bytes[6].data, HPKE_ENC_BYTES);
	assert_int_equal(open_sealed(l, &sealed, &again), 0);
	same(again.data, again.len, &l->bytes[5]);
}

/* recipient's JWK, its point, info, aad, sealed, error */
static void hpke_bad_case(struct fields *l)
{
	CLEANUP_BUF struct buf out = BUF_INIT(LINE_BYTES);
	int want = strcmp(l->text[6], "ERR_AUTH") == 0	      ? ERR_AUTH
		   : strcmp(l->text[6], "ERR_TRUNCATED") == 0 ? ERR_TRUNCATED
							      : ERR_FORMAT;
	assert_int_equal(buf_add(&out, "before", 6), 0);
	int rc = open_sealed(l, &l->bytes[5], &out);
	if (rc != want)
		fail_msg("%d, wanted %s", rc, l->text[6]);
	assert_int_equal(out.len, 6);
}

static const struct {
	const char *kind;
	size_t n_fields;
	void (*run)(struct fields *l);
	int seen;
} KINDS[] = {
	{ "kdfa", 7, kdf_case, 4 },
	{ "kdfe", 7, kdf_case, 4 },
	{ "kem", 5, kem_case, 2 },
	{ "schedule", 5, schedule_case, 1 },
	{ "hpke", 7, hpke_case, 5 },
	{ "hpke-bad", 7, hpke_bad_case, 14 },
	{ "id-object", 7, id_object_case, 2 },
};
#define N_KINDS (sizeof(KINDS) / sizeof(KINDS[0]))

/* Every line, and as many of each kind as there must be: a lost file or kind is noticed. */
static void test_answers(void **state)
{
	(void)state;
	char path[1024], line[LINE_BYTES];
	int seen[N_KINDS] = { 0 };
	snprintf(path, sizeof(path), "%s/tpm.txt", folder);
	FILE *in = fopen(path, "re");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in)) {
		struct fields l;
		size_t i = 0;
		if (line[0] == '#')
			continue;
		take(&l, line);
		while (i < N_KINDS && strcmp(KINDS[i].kind, l.text[0]) != 0)
			i++;
		assert_true(i < N_KINDS);
		assert_int_equal(l.n, KINDS[i].n_fields);
		KINDS[i].run(&l);
		seen[i]++;
		drop(&l);
	}
	fclose(in);
	for (size_t i = 0; i < N_KINDS; i++)
		assert_int_equal(seen[i], KINDS[i].seen);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_answers) };
	if (argc != 2)
		return 2;
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
