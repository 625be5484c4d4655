/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests/bench/guardian loads a guardian with.  Commands come one a line on standard input, and
 * for each a line of JSON goes out:
 *
 *  guardian PORT PIN ADMIN.jwk RELEASE.pub   whom to ask, as whom, and for whose key VMs are made
 *  enrol THREADS       all hosts, by credential activation; approved
 *  attest N THREADS    N attestations, each by another host and over a connection of its own
 *  release N THREADS   N releases, each of another VM, by hosts that have a certificate
 *  handshakes PORT PATH THREADS SECONDS      connections a second, to whomever
 *  crowd IDLE LORIS    come, and leave with 0 0
 *  crowd?
 *  quote FOLDER        files of one quote, for tpm2_checkquote
 *
 * Usage: guardian_load FOLDER HOSTS EVENTS IMA-ENTRIES; FOLDER/makers.pem is there when it says
 * {"ready":true}.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/form.h"
#include "crypto/init.h"
#include "crypto/mac.h"
#include "crypto/strict.h"
#include "tests/fleet/crowd.h"
#include "tests/fleet/fleet.h"
#include "tests/unit/test.h"

#define THREADS_MAX 64
#define DEADLINE_MS 60000

static struct maker maker;
static struct host boot;
static struct simhost *hosts;
static struct simvm *vms;
static unsigned n_hosts, n_vms, port;
static struct client_urls urls;
static struct client *admin;
static struct jwk *admin_key, *owner_key, *release_key;
static pthread_mutex_t admin_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- Many at once ---------------------------------------------------------------------------- */

typedef int work_fn(unsigned i, struct said *why);

static work_fn *work;
static unsigned n_work;
static atomic_uint next_work, n_failed;
static double *took_ms;
static struct said first_failure;

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void *run(void *arg)
{
	(void)arg;
	for (unsigned i; (i = next_work++) < n_work;) {
		struct said why = { 0 };
		double began = now_ms();
		int rc = work(i, &why);
		took_ms[i] = now_ms() - began;
		if (rc < 0 && n_failed++ == 0)
			first_failure = why;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* FN for 0 to N - 1 by THREADS; what came of it is printed. */
static void all_do(work_fn *fn, unsigned n, unsigned n_threads)
{
	pthread_t threads[THREADS_MAX];
	assert_true(n > 0 && n_threads > 0 && n_threads <= THREADS_MAX);
	work = fn;
	n_work = n;
	next_work = n_failed = 0;
	took_ms = calloc(n, sizeof(*took_ms));
	assert_non_null(took_ms);
	memset(&first_failure, 0, sizeof(first_failure));
	double began = now_ms();
	for (unsigned i = 0; i < n_threads; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, NULL), 0);
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	double all = now_ms() - began;
	qsort(took_ms, n, sizeof(*took_ms), compare);
	CLEANUP_JSON json_t *j =
		json_pack("{s:i,s:i,s:f,s:f,s:f,s:f,s:f,s:s}", "done", (int)n, "failed",
			  (int)n_failed, "seconds", all / 1e3, "p50_ms", took_ms[n / 2], "p95_ms",
			  took_ms[n * 95 / 100], "p99_ms", took_ms[n * 99 / 100], "max_ms",
			  took_ms[n - 1], "why", first_failure.fault.text);
	free(took_ms);
	assert_non_null(j);
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
}

static int enrol_one(unsigned i, struct said *why)
{
	char print[65];
	simhost_connect(&hosts[i], &urls, DEADLINE_MS);
	int rc = simhost_enrol(&hosts[i], print, why);
	simhost_leave(&hosts[i]);
	pthread_mutex_lock(&admin_lock);
	if (rc >= 0)
		rc = fleet_approve(admin, &hosts[i], print, why);
	pthread_mutex_unlock(&admin_lock);
	return rc;
}

static int attest_one(unsigned i, struct said *why)
{
	struct simhost *h = &hosts[i % n_hosts];
	simhost_connect(h, &urls, DEADLINE_MS);
	int rc = simhost_attest(h, &boot, why);
	simhost_leave(h);
	return rc;
}

static int release_one(unsigned i, struct said *why)
{
	uint8_t request[KEYRELEASE_REQUEST_BYTES];
	struct simgrant grant;
	struct simhost *h = &hosts[i % n_hosts];
	assert_int_equal(mac_random(request, sizeof(request)), 0);
	simhost_connect(h, &urls, DEADLINE_MS);
	int rc = simhost_release(h, &vms[i], 0, request, &grant, why);
	simhost_leave(h);
	return rc;
}

/* ---- Commands -------------------------------------------------------------------------------- */

static void say_done(void)
{
	puts("{}");
}

static void set_guardian(char *const *a)
{
	char text[2][CLIENT_URL_MAX + JWK_THUMBPRINT_SIZE + 8];
	struct client_urls admins;
	struct fault f = { 0 };
	struct said why;
	port = (unsigned)strtoul(a[0], NULL, 10);
	for (unsigned i = 0; i < 2; i++)
		snprintf(text[i], sizeof(text[i]), "https://127.0.0.1:%u#%s", port + i, a[1]);
	if (client_urls_parse(text[0], &urls, &f) < 0 ||
	    client_urls_parse(text[1], &admins, &f) < 0 ||
	    jwk_read_file(a[2], 1, &admin_key, &f) < 0 ||
	    jwk_read_file(a[3], 0, &release_key, &f) < 0 || jwk_new(&owner_key, &f) < 0 ||
	    client_open(&admins, admin_key, DEADLINE_MS, &admin, &f) < 0)
		fail_msg("%s", f.text);
	if (fleet_policy(admin, &boot, &why) < 0)
		fail_msg("%s", why.fault.text);
	say_done();
}

static void make_vms(unsigned n)
{
	for (unsigned i = 0; i < n_vms; i++)
		simvm_done(&vms[i]);
	free(vms);
	vms = calloc(n, sizeof(*vms));
	assert_non_null(vms);
	for (unsigned i = 0; i < n; i++)
		simvm_make(&vms[i], i, owner_key, release_key);
	n_vms = n;
}

static void write_file(const char *folder, const char *name, const void *data, size_t n)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	assert_true(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

static void write_quote(const char *folder)
{
	static const uint8_t WORKER[ATTEST_WORKER_KEY_BYTES];
	const struct challenge c = { .bank = HASH_SHA256, .mask = CHALLENGE_MASK };
	char path[4096];
	uint8_t name[TPM_NAME_BYTES], extra[QUOTE_EXTRA_BYTES];
	struct evidence e CLEANUP(evidence_done);
	CLEANUP_BUF struct buf hex = BUF_INIT(2 * sizeof(extra));
	evidence_init(&e);
	simtpm_prove(&hosts[0].tpm, &boot, &c, hosts[0].id, WORKER, &e);
	if (tpm_name(blob_of(&hosts[0].tpm.bk_pub), name, NULL) < 0 ||
	    quote_extra(c.nonce, name, WORKER, hosts[0].id, extra) < 0 ||
	    form_hex_put(&hex, extra, sizeof(extra)) < 0)
		fail_msg("no extraData");
	write_file(folder, "quote.extra", hex.data, hex.len);
	write_file(folder, "quote.msg", e.quote.data, e.quote.len);
	write_file(folder, "quote.sig", e.quote_signature.data, e.quote_signature.len);
	snprintf(path, sizeof(path), "%s/ak.pem", folder);
	FILE *f = fopen(path, "w");
	assert_true(f && PEM_write_PUBKEY(f, hosts[0].tpm.ak) == 1 && fclose(f) == 0);
	say_done();
}

static void say_crowd(void)
{
	struct crowd_state s = crowd_look();
	printf("{\"idle\":%u,\"loris\":%u,\"ended\":%lu,\"refused\":%lu}\n", s.idle, s.loris,
	       s.ended, s.refused);
}

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

static void obey(char *line)
{
	char *a[8] = { NULL }, *rest = line;
	int n = 0;
	while (n < 7 && (a[n] = strsep(&rest, " \n")))
		n += a[n][0] != '\0';
	a[n] = NULL;
	const char *what = n ? a[0] : "";
	if (strcmp(what, "guardian") == 0 && n == 5) {
		set_guardian(a + 1);
	} else if (strcmp(what, "enrol") == 0 && n == 2) {
		all_do(enrol_one, n_hosts, number(a[1]));
	} else if (strcmp(what, "attest") == 0 && n == 3) {
		assert_true(number(a[1]) <= n_hosts);
		all_do(attest_one, number(a[1]), number(a[2]));
	} else if (strcmp(what, "release") == 0 && n == 3) {
		make_vms(number(a[1]));
		all_do(release_one, number(a[1]), number(a[2]));
	} else if (strcmp(what, "handshakes") == 0 && n == 5) {
		printf("{\"rate\":%.1f}\n",
		       crowd_handshakes(number(a[1]), a[2], number(a[3]), strtod(a[4], NULL)));
	} else if (strcmp(what, "crowd") == 0 && n == 3) {
		crowd_leave();
		if (number(a[1]) + number(a[2]) > 0)
			crowd_come(port, number(a[1]), number(a[2]));
		say_done();
	} else if (strcmp(what, "crowd?") == 0) {
		say_crowd();
	} else if (strcmp(what, "quote") == 0 && n == 2) {
		write_quote(a[1]);
	} else {
		fail_msg("no command: %s", what);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char path[4096], line[4096];
	if (argc != 5 || crypto_init() < 0) {
		fputs("usage: guardian_load FOLDER HOSTS EVENTS IMA-ENTRIES\n", stderr);
		return 2;
	}
	n_hosts = number(argv[2]);
	hosts = calloc(n_hosts, sizeof(*hosts));
	assert_non_null(hosts);
	fleet_boot(&boot, number(argv[3]), number(argv[4]));
	maker_make(&maker);
	for (unsigned i = 0; i < n_hosts; i++)
		simhost_make(&hosts[i], i, &maker, &boot);
	snprintf(path, sizeof(path), "%s/makers.pem", argv[1]);
	maker_write(&maker, path);
	printf("{\"ready\":true,\"log\":%zu,\"ima\":%zu}\n", boot.log.len, boot.ima.len);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	crowd_leave();
	return 0;
}
