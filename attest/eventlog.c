/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/eventlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/reader.h"

#define LEGACY_DIGEST_BYTES 20
#define SIGNATURE_BYTES	    16
#define ALGORITHMS_MAX	    8
#define SEPARATED_PCRS	    8 /* 0 to 7 */
#define REPLAYED_PCRS	    17
#define REPLAYED_MASK	    ((1u << REPLAYED_PCRS) - 1)

static const uint8_t SPEC_ID[SIGNATURE_BYTES] = "Spec ID Event03";
static const uint8_t STARTUP_LOCALITY[SIGNATURE_BYTES] = "StartupLocality";

/* The algorithms that a log may have beside the one that is asked for, by their digests' size (TCG
 * Algorithm Registry): they are skipped. */
static const struct algorithm {
	uint16_t alg;
	uint16_t bytes;
} ALGORITHMS[] = {
	{ HASH_SHA1, 20 }, { HASH_SHA256, 32 },		  { HASH_SHA384, 48 }, { HASH_SHA512, 64 },
	{ 0x0012, 32 },					  /* SM3-256 */
	{ 0x0027, 32 },	   /* SHA3-256 */ { 0x0028, 48 }, /* SHA3-384 */
	{ 0x0029, 64 },					  /* SHA3-512 */
};

/* The types that are known; of those with MEASURED the data may be what was hashed. */
static const struct type {
	uint32_t type;
	int measured;
} TYPES[] = {
	{ EV_POST_CODE, 0 },
	{ EV_NO_ACTION, 0 },
	{ EV_SEPARATOR, 1 },
	{ EV_ACTION, 1 },
	{ EV_EVENT_TAG, 0 },
	{ EV_S_CRTM_CONTENTS, 0 },
	{ EV_S_CRTM_VERSION, 1 },
	{ EV_CPU_MICROCODE, 0 },
	{ EV_PLATFORM_CONFIG_FLAGS, 1 },
	{ EV_TABLE_OF_DEVICES, 0 },
	{ EV_COMPACT_HASH, 0 },
	{ EV_IPL, 0 },
	{ EV_IPL_PARTITION_DATA, 0 },
	{ EV_NONHOST_CODE, 0 },
	{ EV_NONHOST_CONFIG, 0 },
	{ EV_NONHOST_INFO, 0 },
	{ EV_OMIT_BOOT_DEVICE_EVENTS, 0 },
	{ EV_POST_CODE2, 0 },
	{ EV_EFI_VARIABLE_DRIVER_CONFIG, 1 },
	{ EV_EFI_VARIABLE_BOOT, 1 },
	{ EV_EFI_BOOT_SERVICES_APPLICATION, 0 },
	{ EV_EFI_BOOT_SERVICES_DRIVER, 0 },
	{ EV_EFI_RUNTIME_SERVICES_DRIVER, 0 },
	{ EV_EFI_GPT_EVENT, 1 },
	{ EV_EFI_ACTION, 1 },
	{ EV_EFI_PLATFORM_FIRMWARE_BLOB, 0 },
	{ EV_EFI_HANDOFF_TABLES, 0 },
	{ EV_EFI_PLATFORM_FIRMWARE_BLOB2, 0 },
	{ EV_EFI_HANDOFF_TABLES2, 0 },
	{ EV_EFI_VARIABLE_BOOT2, 1 },
	{ EV_EFI_GPT_EVENT2, 1 },
	{ EV_EFI_HCRTM_EVENT, 0 },
	{ EV_EFI_VARIABLE_AUTHORITY, 1 },
	{ EV_EFI_SPDM_FIRMWARE_BLOB, 0 },
	{ EV_EFI_SPDM_FIRMWARE_CONFIG, 0 },
	{ EV_EFI_SPDM_DEVICE_POLICY, 1 },
	{ EV_EFI_SPDM_DEVICE_AUTHORITY, 1 },
};

/* The digests of what a separator may say, in the bank that was asked for. */
enum separator { SEPARATOR_ZERO, SEPARATOR_ONES, SEPARATOR_ERROR, N_SEPARATORS };
static const uint8_t SEPARATORS[N_SEPARATORS][4] = {
	[SEPARATOR_ZERO] = { 0, 0, 0, 0 },
	[SEPARATOR_ONES] = { 0xff, 0xff, 0xff, 0xff },
	[SEPARATOR_ERROR] = { 1, 0, 0, 0 },
};

#define LOCALITY_UNSAID 0xff

struct eventlog {
	uint16_t bank;
	size_t digest_bytes;
	uint8_t locality;		  /* at which the TPM was started: PCR 0's first value */
	size_t separator[SEPARATED_PCRS]; /* its event's number */
	size_t n;
	struct event events[]; /* room for as many as fit into the log */
};

/* What is only needed while parsing. */
struct parser {
	struct reader in;
	uint16_t bank;
	unsigned n_algorithms;
	struct algorithm algorithms[ALGORITHMS_MAX];
	uint8_t separators[N_SEPARATORS][HASH_BYTES_MAX];
	unsigned separated; /* PCRs that had their separator */
	int extended_pcr0;  /* by software */
	int hcrtm;
	const char **id;
	struct fault *f;
	struct eventlog *log;
};

#define REFUSE(p, name, rc, ...) (*(p)->id = (name), fault_set((p)->f, (rc), __VA_ARGS__))

static int truncated(struct parser *p)
{
	return REFUSE(p, "log.truncated", ERR_TRUNCATED, "the event log ends within event %zu",
		      p->log ? p->log->n : 0);
}

static const struct type *type_of(uint32_t type)
{
	for (size_t i = 0; i < sizeof(TYPES) / sizeof(TYPES[0]); i++)
		if (TYPES[i].type == type)
			return &TYPES[i];
	return NULL;
}

static int all_zero(const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (data[i])
			return 0;
	return 1;
}

/* An event's size and data, after a check against the maximum: a size of gigabytes is told as that,
 * and not as a truncated log. */
static int event_data(struct parser *p, const uint8_t **data, uint32_t *n)
{
	if (reader_u32(&p->in, n) < 0)
		return truncated(p);
	if (*n > EVENTLOG_EVENT_BYTES_MAX)
		return REFUSE(p, "log.size", ERR_LIMIT,
			      "an event of the log claims %u bytes; at most %d are read", *n,
			      EVENTLOG_EVENT_BYTES_MAX);
	*data = reader_bytes(&p->in, *n);
	return *data ? 0 : truncated(p);
}

/* One row of the header's list of algorithms. */
static int header_algorithm(struct parser *p, struct reader *in)
{
	struct algorithm a;
	int known = 0;
	if (reader_u16(in, &a.alg) < 0 || reader_u16(in, &a.bytes) < 0)
		return REFUSE(p, "log.header", ERR_VERSION,
			      "the event log's header is shorter than its list of algorithms");
	for (size_t i = 0; i < sizeof(ALGORITHMS) / sizeof(ALGORITHMS[0]); i++)
		known |= ALGORITHMS[i].alg == a.alg && ALGORITHMS[i].bytes == a.bytes;
	if (!known)
		return REFUSE(
			p, "log.algorithm", ERR_VERSION,
			"the event log has digests of the unknown algorithm 0x%04x, of %u bytes",
			a.alg, a.bytes);
	for (unsigned i = 0; i < p->n_algorithms; i++)
		if (p->algorithms[i].alg == a.alg)
			return REFUSE(p, "log.algorithm", ERR_VERSION,
				      "the event log's header has algorithm 0x%04x twice", a.alg);
	p->algorithms[p->n_algorithms++] = a;
	return 0;
}

/* TCG_EfiSpecIDEventStruct. */
static int header_data(struct parser *p, struct reader *in)
{
	uint32_t platform, n;
	const uint8_t *signature = reader_bytes(in, SIGNATURE_BYTES);
	if (!signature || memcmp(signature, SPEC_ID, SIGNATURE_BYTES) != 0)
		return REFUSE(p, "log.header", ERR_VERSION,
			      "the event log does not begin as a crypto-agile one");
	int rc = reader_u32(in, &platform);
	const uint8_t *version = reader_bytes(in, 4); /* minor, major, errata, size of UINTN */
	if (rc < 0 || !version || reader_u32(in, &n) < 0)
		return REFUSE(p, "log.header", ERR_VERSION, "the event log's header is too short");
	if (platform > 1 || version[0] != 0 || version[1] != 2 || version[3] < 1 || version[3] > 2)
		return REFUSE(p, "log.header", ERR_VERSION,
			      "the event log is of platform class %u, version %u.%u, UINTN size %u",
			      platform, version[1], version[0], version[3]);
	if (n == 0 || n > ALGORITHMS_MAX)
		return REFUSE(p, "log.algorithm", ERR_VERSION,
			      "the event log's header names %u hash algorithms", n);
	while (p->n_algorithms < n)
		if ((rc = header_algorithm(p, in)) < 0)
			return rc;
	const uint8_t *vendor = reader_bytes(in, 1);
	if (!vendor || in->left != *vendor)
		return REFUSE(p, "log.header", ERR_VERSION,
			      "the event log's header is not as long as it says");
	return 0;
}

/* The first event, in the form of TCG 1.2. */
static int header(struct parser *p)
{
	struct reader data;
	uint32_t pcr, type, n;
	if (reader_u32(&p->in, &pcr) < 0 || reader_u32(&p->in, &type) < 0)
		return truncated(p);
	const uint8_t *digest = reader_bytes(&p->in, LEGACY_DIGEST_BYTES);
	if (!digest)
		return truncated(p);
	if (pcr != 0 || type != EV_NO_ACTION || !all_zero(digest, LEGACY_DIGEST_BYTES))
		return REFUSE(p, "log.header", ERR_VERSION,
			      "the event log does not begin as a crypto-agile one");
	int rc = event_data(p, &data.at, &n);
	if (rc < 0)
		return rc;
	data.left = n;
	rc = header_data(p, &data);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < p->n_algorithms; i++)
		if (p->algorithms[i].alg == p->bank)
			return 0;
	return REFUSE(p, "log.bank", ERR_VERSION, "the event log has no %s digests",
		      hash_name(p->bank));
}

/* TPML_DIGEST_VALUES: one of each algorithm, in any order. */
static int digests(struct parser *p, struct event *e)
{
	uint32_t n;
	unsigned seen = 0;
	if (reader_u32(&p->in, &n) < 0)
		return truncated(p);
	if (n != p->n_algorithms)
		return REFUSE(p, "log.digests", ERR_FORMAT,
			      "event %zu of the log has %u digests, the header names %u algorithms",
			      p->log->n, n, p->n_algorithms);
	while (n-- > 0) {
		uint16_t alg;
		unsigned i = 0;
		if (reader_u16(&p->in, &alg) < 0)
			return truncated(p);
		while (i < p->n_algorithms && p->algorithms[i].alg != alg)
			i++;
		if (i == p->n_algorithms || seen & 1u << i)
			return REFUSE(
				p, "log.digests", ERR_FORMAT,
				"event %zu of the log has a digest too many, of algorithm 0x%04x",
				p->log->n, alg);
		seen |= 1u << i;
		const uint8_t *digest = reader_bytes(&p->in, p->algorithms[i].bytes);
		if (!digest)
			return truncated(p);
		if (alg == p->bank)
			e->digest = digest;
	}
	return 0;
}

/* An EV_NO_ACTION event: not extended, and so without a digest.  The one that matters says at which
 * locality the TPM was started. */
static int no_action(struct parser *p, const struct event *e)
{
	struct eventlog *l = p->log;
	if (!all_zero(e->digest, l->digest_bytes))
		return REFUSE(p, "log.event", ERR_FORMAT,
			      "event %zu of the log is not to be measured, but has a digest", l->n);
	if (e->data_bytes < SIGNATURE_BYTES)
		return 0;
	if (memcmp(e->data, SPEC_ID, SIGNATURE_BYTES) == 0)
		return REFUSE(p, "log.header", ERR_VERSION, "the event log has a second header");
	if (memcmp(e->data, STARTUP_LOCALITY, SIGNATURE_BYTES) != 0)
		return 0;
	if (e->pcr != 0 || e->data_bytes != SIGNATURE_BYTES + 1)
		return REFUSE(p, "log.locality", ERR_FORMAT,
			      "the event log's startup locality is ill-formed");
	uint8_t locality = e->data[SIGNATURE_BYTES];
	if (locality != 0 && locality != 3 && locality != 4)
		return REFUSE(p, "log.locality", ERR_FORMAT,
			      "the event log says that the TPM was started at locality %u",
			      locality);
	if (l->locality != LOCALITY_UNSAID)
		return REFUSE(p, "log.locality", ERR_FORMAT,
			      "the event log says twice at which locality the TPM was started");
	if (p->extended_pcr0 || (p->hcrtm && locality != 4))
		return REFUSE(p, "log.locality", ERR_FORMAT,
			      "the event log says the startup locality too late, or not that of "
			      "the H-CRTM's event");
	l->locality = locality;
	return 0;
}

/* The H-CRTM's digest is the first that PCR 0 gets, from locality 4 (TPM 2.0 Library, Part 1,
 * "H-CRTM before TPM2_Startup()"). */
static int hcrtm(struct parser *p, const struct event *e)
{
	struct eventlog *l = p->log;
	if (e->pcr != 0 || p->extended_pcr0 || p->hcrtm ||
	    (l->locality != LOCALITY_UNSAID && l->locality != 4))
		return REFUSE(p, "log.locality", ERR_FORMAT,
			      "event %zu of the log, the H-CRTM's, is not the first of PCR 0, or "
			      "the TPM was not started at locality 4",
			      l->n);
	p->hcrtm = 1;
	return 0;
}

/* Which separator's digest E has, or -1. */
static int separator_of(const struct parser *p, const struct event *e)
{
	for (int i = 0; i < N_SEPARATORS; i++)
		if (memcmp(e->digest, p->separators[i], p->log->digest_bytes) == 0)
			return i;
	return -1;
}

/*
 * A separator is known by its digest, since its type is not measured: under another type it would
 * let events behind it pass for the firmware's.  An error's digest may be that of other data, and
 * where it is a separator's the PCR has no other.
 */
static int separator(struct parser *p, const struct event *e)
{
	struct eventlog *l = p->log;
	int which = separator_of(p, e);
	if (e->type != EV_SEPARATOR && (which < 0 || which == SEPARATOR_ERROR))
		return 0;
	if (which == SEPARATOR_ERROR)
		return REFUSE(p, "log.firmware-error", ERR_POLICY,
			      "the firmware reports an error in PCR %u", e->pcr);
	if (which < 0 || e->type != EV_SEPARATOR || e->data_bytes != sizeof(SEPARATORS[0]) ||
	    memcmp(e->data, SEPARATORS[which], sizeof(SEPARATORS[0])) != 0)
		return REFUSE(
			p, "log.separator", ERR_POLICY,
			"event %zu of the log, of PCR %u, is a separator that is not measured "
			"as one, or not told as one",
			l->n, e->pcr);
	if (p->separated & 1u << e->pcr)
		return REFUSE(p, "log.separator", ERR_POLICY,
			      "the event log has a second separator in PCR %u", e->pcr);
	p->separated |= 1u << e->pcr;
	l->separator[e->pcr] = l->n;
	return 0;
}

static int one_event(struct parser *p)
{
	struct eventlog *l = p->log;
	struct event *e = &l->events[l->n];
	if (reader_u32(&p->in, &e->pcr) < 0 || reader_u32(&p->in, &e->type) < 0)
		return truncated(p);
	int rc = digests(p, e);
	if (rc >= 0)
		rc = event_data(p, &e->data, &e->data_bytes);
	if (rc < 0)
		return rc;
	if (e->pcr >= PCR_COUNT)
		return REFUSE(p, "log.pcr", ERR_FORMAT,
			      "event %zu of the log is of PCR %u, which there is not", l->n,
			      e->pcr);
	if (!type_of(e->type))
		return REFUSE(p, "log.type", ERR_VERSION,
			      "event %zu of the log, of PCR %u, is of the unknown type 0x%08x",
			      l->n, e->pcr, e->type);
	if (e->type == EV_NO_ACTION)
		rc = no_action(p, e);
	else if (e->type == EV_EFI_HCRTM_EVENT)
		rc = hcrtm(p, e);
	if (rc >= 0 && e->type != EV_NO_ACTION && e->pcr < SEPARATED_PCRS)
		rc = separator(p, e);
	p->extended_pcr0 |= e->pcr == 0 && e->type != EV_NO_ACTION && e->type != EV_EFI_HCRTM_EVENT;
	if (rc >= 0)
		l->n++;
	return rc;
}

static int all_events(struct parser *p)
{
	int rc = 0;
	while (rc >= 0 && p->in.left > 0) {
		if (p->log->n == EVENTLOG_EVENTS_MAX)
			return REFUSE(p, "log.count", ERR_LIMIT,
				      "the event log has more than %d events", EVENTLOG_EVENTS_MAX);
		rc = one_event(p);
	}
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < SEPARATED_PCRS; i++)
		if (!(p->separated & 1u << i))
			return REFUSE(p, "log.separator", ERR_POLICY,
				      "the event log has no separator in PCR %u", i);
	if (p->hcrtm)
		p->log->locality = 4;
	else if (p->log->locality == LOCALITY_UNSAID)
		p->log->locality = 0;
	return 0;
}

/* Room for all the events that the rest of the log may hold. */
static int make_log(struct parser *p)
{
	size_t least = 16, room; /* PCR, type, number of digests, size */
	for (unsigned i = 0; i < p->n_algorithms; i++)
		least += 2 + (size_t)p->algorithms[i].bytes;
	room = p->in.left / least + 1;
	if (room > EVENTLOG_EVENTS_MAX)
		room = EVENTLOG_EVENTS_MAX;
	p->log = calloc(1, sizeof(*p->log) + room * sizeof(p->log->events[0]));
	if (!p->log)
		return REFUSE(p, "log.resources", -ENOMEM, "no memory for the event log");
	p->log->bank = p->bank;
	p->log->digest_bytes = hash_bytes(p->bank);
	p->log->locality = LOCALITY_UNSAID;
	for (int i = 0; i < N_SEPARATORS; i++) {
		int rc = hash_data(p->bank, SEPARATORS[i], sizeof(SEPARATORS[i]), p->separators[i]);
		if (rc < 0)
			return REFUSE(p, "log.resources", rc, "the hash of a separator failed");
	}
	return 0;
}

int eventlog_parse(const uint8_t *log, size_t n, uint16_t bank, struct eventlog **out,
		   const char **id, struct fault *f)
{
	struct parser p = { .in = { log, n }, .bank = bank, .id = id, .f = f };
	if (bank != HASH_SHA256 && bank != HASH_SHA384 && bank != HASH_SHA512)
		return REFUSE(&p, "log.bank", ERR_VERSION,
			      "PCR bank 0x%04x is none of SHA-256, SHA-384 and SHA-512", bank);
	if (n > EVENTLOG_BYTES_MAX)
		return REFUSE(&p, "log.size", ERR_LIMIT,
			      "the event log has %zu bytes; at most %d are read", n,
			      EVENTLOG_BYTES_MAX);
	int rc = header(&p);
	if (rc >= 0)
		rc = make_log(&p);
	if (rc >= 0)
		rc = all_events(&p);
	if (rc < 0) {
		eventlog_free(p.log);
		return rc;
	}
	*out = p.log;
	return 0;
}

void eventlog_free(struct eventlog *l)
{
	free(l);
}

size_t eventlog_count(const struct eventlog *l)
{
	return l->n;
}

const struct event *eventlog_event(const struct eventlog *l, size_t i)
{
	return i < l->n ? &l->events[i] : NULL;
}

int eventlog_data_measured(const struct eventlog *l, size_t i)
{
	const struct event *e = eventlog_event(l, i);
	uint8_t digest[HASH_BYTES_MAX];
	if (!e || !type_of(e->type)->measured)
		return 0;
	if (hash_data(l->bank, e->data, e->data_bytes, digest) < 0)
		return 0;
	return memcmp(digest, e->digest, l->digest_bytes) == 0;
}

int eventlog_by_firmware(const struct eventlog *l, size_t i)
{
	const struct event *e = eventlog_event(l, i);
	return e && e->type != EV_NO_ACTION && e->pcr < SEPARATED_PCRS && i < l->separator[e->pcr];
}

int eventlog_replay(const struct eventlog *l, struct pcrs *out)
{
	struct pcrs pcrs = { .bank = l->bank, .mask = REPLAYED_MASK };
	pcrs.value[0][l->digest_bytes - 1] = l->locality;
	for (size_t i = 0; i < l->n; i++) {
		const struct event *e = &l->events[i];
		if (e->type == EV_NO_ACTION || e->pcr >= REPLAYED_PCRS)
			continue;
		int rc = hash_extend(l->bank, pcrs.value[e->pcr], e->digest);
		if (rc < 0)
			return rc;
	}
	*out = pcrs;
	return 0;
}
