/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/ima.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/reader.h"

#define IMA_PCR		   10
#define LIST_DIGEST_BYTES  20 /* SHA-1, whatever the PCR's bank */
#define TEMPLATE_NAME_MAX  32
#define ALGORITHM_NAME_MAX 16
#define ENTRY_LEAST_BYTES  40 /* of an entry with the shortest template and nothing in it */
#define AGGREGATE_NAME	   "boot_aggregate"

enum template { TEMPLATE_NG, TEMPLATE_SIG, TEMPLATE_BUF, N_TEMPLATES };
static const char *const TEMPLATES[N_TEMPLATES] = {
	[TEMPLATE_NG] = "ima-ng",
	[TEMPLATE_SIG] = "ima-sig",
	[TEMPLATE_BUF] = "ima-buf",
};
static const uint16_t ALGORITHMS[] = { HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512 };

struct row {
	struct ima_entry entry;
	const uint8_t *data; /* the template's, which is what is hashed */
	size_t data_bytes;
};

struct ima {
	size_t n, parsed;
	struct row rows[]; /* room for as many as fit into the list */
};

struct parser {
	struct reader in;
	const char **id;
	struct fault *f;
	struct ima *list;
};

#define REFUSE(p, name, rc, ...) (*(p)->id = (name), fault_set((p)->f, (rc), __VA_ARGS__))

static int truncated(struct parser *p)
{
	return REFUSE(p, "ima.truncated", ERR_TRUNCATED,
		      "the measurement list ends within entry %zu", p->list->n);
}

static int malformed(struct parser *p, const char *what)
{
	return REFUSE(p, "ima.format", ERR_FORMAT, "entry %zu of the measurement list: %s",
		      p->list->n, what);
}

static int all_zero(const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (data[i])
			return 0;
	return 1;
}

/* A field of a template's data: its size, and that many bytes. */
static int field(struct reader *data, struct reader *out)
{
	uint32_t n;
	if (reader_u32(data, &n) < 0)
		return ERR_FORMAT;
	out->at = reader_bytes(data, n);
	out->left = n;
	return out->at ? 0 : ERR_FORMAT;
}

/* d-ng: the algorithm's name, ":", NUL, the digest.  A violation's is zeros, as long as SHA-1's
 * digest or, since Linux 6.2, as the algorithm's. */
static int digest_field(struct parser *p, struct reader *data, struct ima_entry *e)
{
	struct reader in;
	if (field(data, &in) < 0)
		return malformed(p, "its digest is cut");
	const uint8_t *end = memchr(in.at, '\0', in.left);
	size_t n = end ? (size_t)(end - in.at) : 0;
	if (n < 2 || n > ALGORITHM_NAME_MAX || in.at[n - 1] != ':')
		return malformed(p, "its digest names no algorithm");
	for (size_t i = 0; i < sizeof(ALGORITHMS) / sizeof(ALGORITHMS[0]); i++) {
		const char *name = hash_name(ALGORITHMS[i]);
		if (strlen(name) == n - 1 && memcmp(name, in.at, n - 1) == 0)
			e->digest_alg = ALGORITHMS[i];
	}
	if (!e->digest_alg)
		return REFUSE(p, "ima.algorithm", ERR_VERSION,
			      "entry %zu of the measurement list has a digest of the unknown "
			      "algorithm %.*s",
			      p->list->n, (int)(n - 1), (const char *)in.at);
	size_t left = in.left - n - 1, wanted = hash_bytes(e->digest_alg);
	e->digest = in.at + n + 1;
	if (e->violation) {
		if ((left != wanted && left != LIST_DIGEST_BYTES) || !all_zero(e->digest, left))
			return malformed(p, "it is a violation, but has a digest");
		e->digest_alg = 0;
	} else if (left != wanted) {
		return malformed(p, "its digest is not as long as its algorithm's");
	}
	return 0;
}

/* n-ng: a path or a hook's name, with its NUL. */
static int name_field(struct parser *p, struct reader *data, struct ima_entry *e)
{
	struct reader in;
	if (field(data, &in) < 0)
		return malformed(p, "its name is cut");
	if (in.left > IMA_NAME_MAX)
		return REFUSE(p, "ima.size", ERR_LIMIT,
			      "entry %zu of the measurement list has a name of %zu bytes; at most "
			      "%d are read",
			      p->list->n, in.left, IMA_NAME_MAX);
	if (in.left < 2 || memchr(in.at, '\0', in.left) != in.at + in.left - 1)
		return malformed(p, "its name is empty, or does not end where it should");
	e->name = (const char *)in.at;
	e->name_bytes = in.left - 1;
	return 0;
}

/* What the template has besides; empty is the same as without. */
static int last_field(struct parser *p, struct reader *data, enum template t, struct ima_entry *e)
{
	struct reader in;
	if (t == TEMPLATE_NG)
		return 0;
	if (field(data, &in) < 0)
		return malformed(p, "its last field is cut");
	e->last = in.left ? in.at : NULL;
	e->last_bytes = in.left;
	return 0;
}

static int template_of(struct parser *p, enum template *out)
{
	uint32_t n;
	if (reader_u32(&p->in, &n) < 0)
		return truncated(p);
	const uint8_t *name = n <= TEMPLATE_NAME_MAX ? reader_bytes(&p->in, n) : NULL;
	if (!name && n <= TEMPLATE_NAME_MAX)
		return truncated(p);
	for (int i = 0; name && i < N_TEMPLATES; i++)
		if (strlen(TEMPLATES[i]) == n && memcmp(TEMPLATES[i], name, n) == 0) {
			*out = (enum template)i;
			return 0;
		}
	return REFUSE(p, "ima.template", ERR_VERSION,
		      "entry %zu of the measurement list is of a template that is none of ima-ng, "
		      "ima-sig and ima-buf",
		      p->list->n);
}

/* DIGEST is the list's SHA-1; it is zeros where the kernel saw a violation. */
static int template_data(struct parser *p, enum template t, const uint8_t *digest, struct row *row)
{
	uint8_t expected[HASH_BYTES_MAX];
	struct reader data = { row->data, row->data_bytes };
	row->entry.violation = all_zero(digest, LIST_DIGEST_BYTES);
	int rc = digest_field(p, &data, &row->entry);
	if (rc >= 0)
		rc = name_field(p, &data, &row->entry);
	if (rc >= 0)
		rc = last_field(p, &data, t, &row->entry);
	if (rc < 0)
		return rc;
	if (data.left)
		return malformed(p, "something stands behind its last field");
	if (row->entry.violation)
		return 0;
	rc = hash_data(HASH_SHA1, row->data, row->data_bytes, expected);
	if (rc < 0)
		return REFUSE(p, "ima.resources", rc, "the hash of an entry failed");
	if (memcmp(digest, expected, LIST_DIGEST_BYTES) != 0)
		return REFUSE(p, "ima.digest", ERR_AUTH,
			      "entry %zu of the measurement list has not the digest of its data",
			      p->list->n);
	return 0;
}

static int one_entry(struct parser *p)
{
	struct row *row = &p->list->rows[p->list->n];
	enum template t = TEMPLATE_NG;
	uint32_t pcr, n;
	if (reader_u32(&p->in, &pcr) < 0)
		return truncated(p);
	if (pcr != IMA_PCR)
		return REFUSE(p, "ima.pcr", ERR_FORMAT,
			      "entry %zu of the measurement list is of PCR %u, not %d", p->list->n,
			      pcr, IMA_PCR);
	const uint8_t *digest = reader_bytes(&p->in, LIST_DIGEST_BYTES);
	if (!digest)
		return truncated(p);
	int rc = template_of(p, &t);
	if (rc < 0)
		return rc;
	if (reader_u32(&p->in, &n) < 0)
		return truncated(p);
	row->data = reader_bytes(&p->in, n);
	row->data_bytes = n;
	if (!row->data)
		return truncated(p);
	rc = template_data(p, t, digest, row);
	if (rc >= 0)
		p->list->n++;
	return rc;
}

int ima_parse(const uint8_t *list, size_t n, struct ima **out, const char **id, struct fault *f)
{
	struct parser p = { .in = { list, n }, .id = id, .f = f };
	size_t room = n / ENTRY_LEAST_BYTES + 1;
	int rc = 0;
	if (n > IMA_BYTES_MAX)
		return REFUSE(&p, "ima.size", ERR_LIMIT,
			      "the measurement list has %zu bytes; at most %d are read", n,
			      IMA_BYTES_MAX);
	if (room > IMA_ENTRIES_MAX)
		room = IMA_ENTRIES_MAX;
	p.list = calloc(1, sizeof(*p.list) + room * sizeof(p.list->rows[0]));
	if (!p.list)
		return REFUSE(&p, "ima.resources", -ENOMEM, "no memory for the measurement list");
	while (rc >= 0 && p.in.left > 0) {
		if (p.list->n == room)
			rc = room < IMA_ENTRIES_MAX
				     ? truncated(&p)
				     : REFUSE(&p, "ima.count", ERR_LIMIT,
					      "the measurement list has more than %d entries",
					      IMA_ENTRIES_MAX);
		else
			rc = one_entry(&p);
	}
	if (rc < 0) {
		ima_free(p.list);
		return rc;
	}
	p.list->parsed = p.list->n;
	*out = p.list;
	return 0;
}

void ima_free(struct ima *l)
{
	free(l);
}

int ima_match(struct ima *l, uint16_t bank, const uint8_t *quoted, size_t *n, struct fault *f)
{
	uint8_t value[HASH_BYTES_MAX] = { 0 }, digest[HASH_BYTES_MAX];
	size_t bytes = hash_bytes(bank);
	if (!bytes)
		return fault_set(f, ERR_VERSION, "PCR bank 0x%04x is not known", bank);
	for (size_t i = 0; i < l->parsed; i++) {
		const struct row *row = &l->rows[i];
		int rc = 0;
		if (row->entry.violation)
			memset(digest, 0xff, bytes);
		else
			rc = hash_data(bank, row->data, row->data_bytes, digest);
		if (rc >= 0)
			rc = hash_extend(bank, value, digest);
		if (rc < 0)
			return fault_set(f, rc, "the replay of the measurement list failed");
		if (memcmp(value, quoted, bytes) == 0) {
			l->n = i + 1;
			*n = l->n;
			return 0;
		}
	}
	return fault_set(f, ERR_AUTH,
			 "no beginning of the measurement list, of %zu entries, replays to the "
			 "quoted PCR %d",
			 l->parsed, IMA_PCR);
}

size_t ima_count(const struct ima *l)
{
	return l->n;
}

const struct ima_entry *ima_at(const struct ima *l, size_t i)
{
	return i < l->n ? &l->rows[i].entry : NULL;
}

int ima_check_aggregate(const struct ima *l, const struct pcrs *pcrs, struct fault *f)
{
	const struct ima_entry *first = ima_at(l, 0);
	struct hash_part parts[10];
	uint8_t digest[HASH_BYTES_MAX];
	if (!first || first->violation || first->name_bytes != strlen(AGGREGATE_NAME) ||
	    memcmp(first->name, AGGREGATE_NAME, first->name_bytes) != 0)
		return fault_set(f, ERR_AUTH,
				 "the measurement list does not begin with the boot aggregate");
	if (first->digest_alg != pcrs->bank)
		return fault_set(f, ERR_VERSION,
				 "the boot aggregate is over the %s bank, not the quoted one",
				 hash_name(first->digest_alg));
	size_t n = pcrs->bank == HASH_SHA1 ? 8 : 10;
	for (size_t i = 0; i < n; i++) {
		if (!(pcrs->mask & 1u << i))
			return fault_set(f, ERR_STATE,
					 "PCR %zu, which is in the boot aggregate, is not known",
					 i);
		parts[i] = (struct hash_part){ pcrs->value[i], hash_bytes(pcrs->bank) };
	}
	int rc = hash_parts(pcrs->bank, parts, n, digest);
	if (rc < 0)
		return fault_set(f, rc, "the hash of the boot aggregate failed");
	if (memcmp(digest, first->digest, hash_bytes(pcrs->bank)) != 0)
		return fault_set(
			f, ERR_AUTH,
			"the boot aggregate is not that of the quoted PCRs: the list is of "
			"another boot");
	return 0;
}
