/* SPDX-License-Identifier: BSD-3-Clause */
/* A guardian with keys of its own over the database of store_bed.h, and one admin. */
#ifndef SHIELDVM_TESTS_UNIT_GUARDIAN_GUARDIAN_BED_H
#define SHIELDVM_TESTS_UNIT_GUARDIAN_GUARDIAN_BED_H

#include "tests/unit/guardian/store_bed.h"

#include "guardian/admin.h"

static struct guardian g;
static const uint8_t ANNA[STORE_FINGERPRINT_BYTES] = { 1 }; /* an admin's certificate */
static const uint8_t RITA[STORE_FINGERPRINT_BYTES] = { 2 }; /* a reviewer's */
static struct healthca *bed_ca;
static struct jwk *bed_log_key;

static int guardian_make(void **state)
{
	struct store_admin anna = { .name = "anna", .fingerprint = { 1 } };
	struct store_admin rita = { .name = "rita", .role = STORE_REVIEWER, .fingerprint = { 2 } };
	if (bed_make(state) < 0 || healthca_init(folder, NULL) < 0 ||
	    healthca_open(folder, &bed_ca, NULL) < 0 || jwk_new(&bed_log_key, NULL) < 0)
		return -1;
	g = (struct guardian){ .store = bed_open(), .ca = bed_ca, .log_key = bed_log_key };
	if (mac_random(g.mac_key, sizeof(g.mac_key)) < 0)
		return -1;
	GOOD_TX(g.store, store_admin_add(g.store, &anna, &f));
	GOOD_TX(g.store, store_admin_add(g.store, &rita, &f));
	return 0;
}

static int guardian_done(void **state)
{
	store_close(g.store);
	healthca_free(bed_ca);
	jwk_free(bed_log_key);
	return bed_remove(state);
}

#define DONE(call)                                                                                 \
	do {                                                                                       \
		struct refusal why = { 0 };                                                        \
		int rc_ = (call);                                                                  \
		if (rc_ < 0 || why.id)                                                             \
			fail_msg("%s: %d %s: %s", #call, rc_, why.id, why.fault.text);             \
	} while (0)

static inline void nothing_is_open(void)
{
	GOOD(store_begin(g.store, &f));
	store_rollback(g.store);
}

/* CALL refuses as ID, with a sentence, there is a remedy, and nothing is left open. */
#define REFUSES(want, call)                                                                        \
	do {                                                                                       \
		struct refusal why = { 0 };                                                        \
		int rc_ = (call);                                                                  \
		if (rc_ >= 0 || !why.id || strcmp(why.id, want) != 0)                              \
			fail_msg("%s: %d %s \"%s\", wanted %s", #call, rc_, why.id,                \
				 why.fault.text, want);                                            \
		assert_true(why.fault.text[0] != 0);                                               \
		assert_non_null(refusal_remedy(why.id));                                           \
		nothing_is_open();                                                                 \
	} while (0)

/* The number of records about VM, whosoever it is. */
static inline int64_t bed_records(const uint8_t vm[static UUID_BYTES])
{
	char owners[8][STORE_OWNER_SIZE];
	size_t n;
	int64_t records = 0;
	GOOD(store_log_owners(g.store, vm, 8, owners, &n, &f));
	for (size_t i = 0; i < n; i++) {
		struct store_log_head head = { 0 };
		GOOD(store_log_head(g.store, vm, owners[i], &head, &f));
		records += head.seq;
	}
	return records;
}

/* Host N is added and approved. */
static inline void bed_approve(unsigned n)
{
	CLEANUP_STORE_HOST struct store_host h;
	uint8_t print[STORE_FINGERPRINT_BYTES];
	store_host_init(&h);
	bed_add(g.store, n);
	GOOD(store_host_get(g.store, bed_id(n), &h, &f));
	GOOD(store_host_fingerprint(&h, print));
	DONE(admin_approve(&g, ANNA, bed_id(n), print, NOW, &why));
}

#endif
