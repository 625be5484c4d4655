/* SPDX-License-Identifier: BSD-3-Clause */
/* A database in a folder of its own, or with STORE_BED_POSTGRES in a private PostgreSQL, and rows
 * to put into it. */
#ifndef SHIELDVM_TESTS_UNIT_GUARDIAN_STORE_BED_H
#define SHIELDVM_TESTS_UNIT_GUARDIAN_STORE_BED_H

#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guardian/store_host.h"
#include "guardian/store_vm.h"

#ifdef STORE_BED_POSTGRES
#include "tests/unit/guardian/postgres_bed.h"
#define ON(sqlite, postgres) postgres
#define raw(sql)	     postgres_bed_raw(sql)
#else
#define ON(sqlite, postgres) sqlite
#endif

#define NOW INT64_C(1800000000)

static char folder[64], path[200];

static int bed_remove(void **state)
{
	(void)state;
	char line[128];
	snprintf(line, sizeof(line), "rm -rf %s", folder);
	return system(line);
}

static int bed_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/shieldvm-store-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
#ifdef STORE_BED_POSTGRES
	postgres_bed_fresh(path, sizeof(path));
#else
	snprintf(path, sizeof(path), "%s/guardian.db", folder);
#endif
	return 0;
}

static int bed_make(void **state)
{
	struct fault f = { 0 };
	if (bed_folder(state) < 0 || store_create(path, &f) < 0) {
		fprintf(stderr, "%s\n", f.text);
		return -1;
	}
	return 0;
}

static struct store *bed_open(void)
{
	struct store *s = NULL;
	struct fault f = { 0 };
	if (store_open(path, &s, &f) < 0)
		fail_msg("%s", f.text);
	return s;
}

#define GOOD(call)                                                                                 \
	do {                                                                                       \
		struct fault f = { 0 };                                                            \
		int rc_ = (call);                                                                  \
		if (rc_ < 0)                                                                       \
			fail_msg("%s: %d %s", #call, rc_, f.text);                                 \
	} while (0)

#define REFUSED(rc, says, call)                                                                    \
	do {                                                                                       \
		struct fault f = { 0 };                                                            \
		int rc_ = (call);                                                                  \
		if (rc_ != (rc) || !strstr(f.text, says))                                          \
			fail_msg("%s: %d \"%s\", wanted %d \"%s\"", #call, rc_, f.text, (rc),      \
				 says);                                                            \
	} while (0)

/* Refused in a transaction of its own, which is then rolled back. */
#define REFUSED_TX(s, rc, says, call)                                                              \
	do {                                                                                       \
		GOOD(store_begin(s, &f));                                                          \
		REFUSED(rc, says, call);                                                           \
		REFUSED(ERR_STATE, "", store_commit(s, &f));                                       \
	} while (0)

#define GOOD_TX(s, call)                                                                           \
	do {                                                                                       \
		GOOD(store_begin(s, &f));                                                          \
		GOOD(call);                                                                        \
		GOOD(store_commit(s, &f));                                                         \
	} while (0)

/* A TPM host whose every key is made of N. */
static inline void bed_host(struct store_host *h, unsigned n)
{
	store_host_init(h);
	memcpy(h->id, &n, sizeof(n));
	snprintf(h->name, sizeof(h->name), "host-%u", n);
	memcpy(h->ek_id, &n, sizeof(n));
	memcpy(h->tls_key, &n, sizeof(n));
	if (buf_addf(&h->ek_cert, "certificate %u", n) < 0 || buf_addf(&h->ak_pub, "ak %u", n) < 0)
		abort();
	h->enrolled = NOW;
}

/* Host N, added. */
static inline void bed_add(struct store *s, unsigned n)
{
	CLEANUP_STORE_HOST struct store_host h;
	bed_host(&h, n);
	GOOD_TX(s, store_host_add(s, &h, &f));
}

static inline const uint8_t *bed_id(unsigned n)
{
	static uint8_t id[UUID_BYTES];
	memset(id, 0, sizeof(id));
	memcpy(id, &n, sizeof(n));
	return id;
}

#endif
