/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests from arbitrary bytes, as a front that somebody has taken over may pass them on: the
 * first byte says who asks, the second the route, and the rest is the query's and the body's. Every
 * one gets an answer that is JSON, none leaves a transaction open, and none makes a certificate or
 * gets a key.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/strict.h"
#include "guardian/service.h"
#include "guardian/setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct setup setup;
static int64_t now = 1800000000;
static char folder[] = "/tmp/shieldvm-fuzz-service-XXXXXX";

static void remove_folder(void)
{
	char line[128];
	setup_done(&setup);
	snprintf(line, sizeof(line), "rm -rf %s", folder);
	if (system(line) != 0)
		abort();
}

/* A guardian with the admin whose fingerprint begins with a 1, and the approved host of zeros whose
 * begins with a 2. */
static void start(void)
{
	struct store_admin anna = { .name = "anna", .fingerprint = { 1 } };
	struct fault f = { 0 };
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	h.mode = STORE_MODE_HOSTKEY;
	h.tls_key[0] = 2;
	strcpy(h.name, "host");
	const struct setup_from from = { .folder = folder };
	int out = dup(1), null = open("/dev/null", O_WRONLY);
	if (!mkdtemp(folder) || dup2(null, 1) < 0 ||
	    setup_init(&from, NULL, NULL, 1800000000, &f) < 0 ||
	    setup_open(&from, &setup, &f) < 0 || store_begin(setup.g.store, &f) < 0 ||
	    store_admin_add(setup.g.store, &anna, &f) < 0 || buf_addf(&h.host_key, "{}") < 0 ||
	    store_host_add(setup.g.store, &h, &f) < 0 ||
	    store_host_decide(setup.g.store, h.id, STORE_PENDING, STORE_APPROVED, 1800000000,
			      "anna", &f) < 0 ||
	    store_commit(setup.g.store, &f) < 0) {
		fprintf(stderr, "%s\n", f.text);
		abort();
	}
	fflush(stdout);
	dup2(out, 1);
	close(out);
	close(null);
	atexit(remove_folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[LINK_PATH_MAX + 1], *body;
	struct certify_case c;
	struct service_reply r;
	struct fault f = { 0 };
	json_t *j;
	if (size < 3)
		return 0;
	if (!setup.ca)
		start();
	const struct route *route = &ROUTES[data[1] % ROUTE_COUNT];
	size_t n_query = route->query_allowed ? data[2] % 128U : 0;
	if (n_query > size - 3)
		n_query = size - 3;
	snprintf(path, sizeof(path), "%s%.*s", route->path, (int)n_query, (const char *)data + 3);
	/* Of its exact size, so that reading behind it shows. */
	size_t n = size - 3 - n_query;
	body = malloc(n ? n : 1);
	memcpy(body, data + 3 + n_query, n);
	struct service_ask q = { .listener = route->listener,
				 .method = route->method,
				 .peer = { data[0] },
				 .path = path,
				 .body = body,
				 .n_body = n };
	certify_case_init(&c);
	service_reply_init(&r);
	/* A minute later each time, so that none is too many. */
	now += 60;
	if (service_ask(&setup.g, &q, now, &c, &r) != SERVICE_DONE)
		abort();
	j = json_loadb((const char *)r.body.data, r.body.len, JSON_REJECT_DUPLICATES, NULL);
	if (!j || (r.status == 200) != !json_object_get(j, "remedy") ||
	    json_object_get(j, "certificate") || json_object_get(j, "key") ||
	    store_begin(setup.g.store, &f) < 0)
		abort();
	store_rollback(setup.g.store);
	json_decref(j);
	certify_case_done(&c);
	service_reply_done(&r);
	free(body);
	return 0;
}
