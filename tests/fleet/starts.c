/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts and stops of VMs by many hosts at once, at guardians that are killed meanwhile
 * (tests/soak/guardian): attestation and release for each start, some of them of a VM that another
 * host starts at the same instant.  Every start and stop leaves a line of JSON in
 * FOLDER/observations, for others to judge; nothing is judged here but that a released key opens
 * and is the VM's.
 *
 * Usage: guardian_starts FOLDER HOSTS VMS THREADS STARTS SEED PAUSE-MS DEADLINE-MS
 * It says {"ready":true} once FOLDER/makers.pem is there, then reads
 *	HOSTS' URLS, ADMINS' URLS, ADMIN.jwk, RELEASE.pub
 * on a line, enrols, says which hosts and VMs there are, and begins after another line.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/init.h"
#include "crypto/mac.h"
#include "crypto/strict.h"
#include "tests/fleet/fleet.h"
#include "tests/unit/test.h"

#define THREADS_MAX 64
#define STOP_TRIES  40
#define IN_VAIN_MS  1500 /* whoever finds no guardian does not try again at once */
#define EVENTS	    150
#define IMA_ENTRIES 500

struct vm {
	struct simvm v;
	unsigned starting; /* by how many threads */
	int live;	   /* some host thinks that it runs the VM */
	int left_with;	   /* the host that may have its lease and does not know; -1: none */
	int64_t version;   /* of its state, which all hosts see */
};

static struct host boot;
static struct simhost *hosts;
static struct vm *vms;
static char *busy; /* hosts that a thread has */
static unsigned n_hosts, n_vms, n_threads, n_starts, pause_ms, next_start;
static int deadline_ms;
static struct client_urls urls, other_way; /* the same guardians, in the order of the other half */
static uint32_t seed;
static FILE *observations;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- What is chosen, under the lock ---------------------------------------------------------- */

static uint32_t choose(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static unsigned choose_vm(void)
{
	/* One in three: a VM that is being started elsewhere. */
	unsigned first = choose(n_vms);
	for (unsigned i = 0; choose(3) == 0 && i < n_vms; i++)
		if (vms[(first + i) % n_vms].starting)
			return (first + i) % n_vms;
	return first;
}

static unsigned choose_host(const struct vm *v)
{
	if (v->left_with >= 0 && !busy[v->left_with] && choose(2))
		return (unsigned)v->left_with;
	for (;;) {
		unsigned i = choose(n_hosts);
		if (!busy[i])
			return i;
	}
}

/* ---- Observations ---------------------------------------------------------------------------- */

static void observe(json_t *j)
{
	assert_non_null(j);
	pthread_mutex_lock(&lock);
	json_dumpf(j, observations, JSON_COMPACT);
	putc('\n', observations);
	fflush(observations);
	pthread_mutex_unlock(&lock);
	json_decref(j);
}

/* What a start came to, in its last request of REQUESTS; GRANT is zero if to nothing. */
static json_t *start_line(unsigned n, const struct simhost *h, const struct vm *v, int64_t began,
			  json_t *requests, int rc, const struct simgrant *grant,
			  const struct said *why)
{
	const char *node = client_address(h->client);
	return json_pack("{s:s,s:i,s:s,s:s,s:I,s:I,s:o,s:i,s:s,s:s,s:I,s:I,s:b}", "what", "start",
			 "n", (int)n, "host", h->text, "vm", v->v.text, "began", (json_int_t)began,
			 "ended", (json_int_t)clock_ms(), "requests", requests, "rc", rc, "id",
			 why->id, "why", why->fault.text, "token", (json_int_t)grant->token,
			 "expires", (json_int_t)grant->expires, "elsewhere",
			 strcmp(node, urls.at[h->id[0] & 1 ? urls.n - 1 : 0].address) != 0);
}

/* ---- Starts ---------------------------------------------------------------------------------- */

static void nap(unsigned ms)
{
	usleep(ms * 1000);
}

/* The VM has ended, with VERSION: tell until it is certain that the guardian knows. */
static void stop(struct simhost *h, struct vm *v, int64_t token, int64_t version)
{
	struct said why = { 0 };
	int64_t began = clock_ms();
	int rc = -1, known = 0;
	for (int i = 0; i < STOP_TRIES && !known; i++) {
		if (i)
			nap(200);
		rc = simhost_stop(h, &v->v, token, version, &why);
		/* Lost by an earlier try, or by a node that was itself not told that it was done.
		 */
		known = rc >= 0 || strcmp(why.id, "lease.lost") == 0;
		if (rc == ERR_POLICY && strncmp(why.id, "guardian.", 9) != 0)
			break;
	}
	pthread_mutex_lock(&lock);
	v->left_with = known ? -1 : (int)(h - hosts);
	pthread_mutex_unlock(&lock);
	observe(json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:b,s:i,s:s,s:s}", "what", "stop", "host",
			  h->text, "vm", v->v.text, "token", (json_int_t)token, "began",
			  (json_int_t)began, "ended", (json_int_t)clock_ms(), "known", known, "rc",
			  rc, "id", why.id, "why", why.fault.text));
}

/* The VM runs for a while. */
static void live(struct simhost *h, struct vm *v, const struct simgrant *grant, unsigned for_ms)
{
	int64_t version;
	nap(for_ms);
	pthread_mutex_lock(&lock);
	v->live = 0;
	version = ++v->version;
	pthread_mutex_unlock(&lock);
	stop(h, v, grant->token, version);
}

/*
 * Ask for the key as attest/obtain.c does: under a new id each time that nobody knows what became
 * of the one before; also where a guardian that then could not serve has used it up.  All ids are
 * added to REQUESTS.
 */
static int release(struct simhost *h, struct vm *v, json_t *requests, struct simgrant *grant,
		   struct said *why)
{
	int rc = -ECONNABORTED, again = 1;
	for (unsigned i = 0; i < CLIENT_URLS_MAX && again; i++) {
		uint8_t raw[KEYRELEASE_REQUEST_BYTES];
		CLEANUP_BUF struct buf text = BUF_INIT(64);
		assert_int_equal(mac_random(raw, sizeof(raw)), 0);
		assert_int_equal(strict_b64_put(&text, raw, sizeof(raw)), 0);
		json_array_append_new(requests, json_stringn((const char *)text.data, text.len));
		pthread_mutex_lock(&lock);
		int64_t version = v->version;
		pthread_mutex_unlock(&lock);
		rc = simhost_release(h, &v->v, version, raw, grant, why);
		again = rc == -ECONNABORTED || (rc < 0 && strcmp(why->id, "request.used") == 0);
	}
	return rc;
}

/* 1 if no guardian could serve. */
static int start(unsigned n, struct simhost *h, struct vm *v, unsigned for_ms)
{
	struct said why = { 0 };
	struct simgrant grant = { 0 };
	int64_t began = clock_ms();
	json_t *requests = json_array();
	simhost_connect(h, h->id[0] & 1 ? &other_way : &urls, deadline_ms);
	int rc = simhost_attest(h, &boot, &why);
	if (rc >= 0)
		rc = release(h, v, requests, &grant, &why);
	pthread_mutex_lock(&lock);
	v->live |= rc >= 0;
	v->starting--;
	/* Nobody knows what became of it. */
	if (rc < 0 && rc != ERR_POLICY && json_array_size(requests) > 0 && !v->live)
		v->left_with = (int)(h - hosts);
	pthread_mutex_unlock(&lock);
	observe(start_line(n, h, v, began, requests, rc, &grant, &why));
	if (rc >= 0)
		live(h, v, &grant, for_ms);
	simhost_leave(h);
	return rc < 0 && (!why.id[0] || strncmp(why.id, "guardian.", 9) == 0);
}

static void *run(void *arg)
{
	(void)arg;
	for (;;) {
		pthread_mutex_lock(&lock);
		unsigned n = next_start++;
		unsigned vm = choose_vm(), host = choose_host(&vms[vm]);
		unsigned for_ms = choose(pause_ms + 1), then_ms = choose(pause_ms + 1);
		busy[host] = 1;
		vms[vm].starting++;
		pthread_mutex_unlock(&lock);
		if (n >= n_starts)
			return NULL;
		int in_vain = start(n, &hosts[host], &vms[vm], for_ms);
		pthread_mutex_lock(&lock);
		busy[host] = 0;
		pthread_mutex_unlock(&lock);
		nap(then_ms + (in_vain ? IN_VAIN_MS : 0));
	}
}

/* ---- Before ---------------------------------------------------------------------------------- */

static void read_line(char line[static 4096])
{
	if (!fgets(line, 4096, stdin))
		fail_msg("nobody says how to go on");
	line[strcspn(line, "\n")] = '\0';
}

static void say_names(void)
{
	CLEANUP_JSON json_t *j = json_pack("{s:[],s:[]}", "hosts", "vms");
	for (unsigned i = 0; i < n_hosts; i++)
		json_array_append_new(json_object_get(j, "hosts"), json_string(hosts[i].text));
	for (unsigned i = 0; i < n_vms; i++)
		json_array_append_new(json_object_get(j, "vms"), json_string(vms[i].v.text));
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
}

static void enrol(struct client *admin)
{
	struct said why = { 0 };
	char print[65];
	if (fleet_policy(admin, &boot, &why) < 0)
		fail_msg("%s", why.fault.text);
	for (unsigned i = 0; i < n_hosts; i++) {
		simhost_connect(&hosts[i], &urls, deadline_ms);
		if (simhost_enrol(&hosts[i], print, &why) < 0 ||
		    fleet_approve(admin, &hosts[i], print, &why) < 0)
			fail_msg("%s", why.fault.text);
		simhost_leave(&hosts[i]);
	}
}

static void begin(void)
{
	char line[4096], *rest = line;
	struct client_urls admins;
	struct client *admin = NULL;
	struct fault f = { 0 };
	struct jwk *key = NULL, *release = NULL, *owner = NULL;
	read_line(line);
	const char *at_hosts = strsep(&rest, " "), *at_admins = strsep(&rest, " "),
		   *admin_path = strsep(&rest, " ");
	if (!rest || client_urls_parse(at_hosts, &urls, &f) < 0 ||
	    client_urls_parse(at_admins, &admins, &f) < 0 ||
	    jwk_read_file(admin_path, 1, &key, &f) < 0 ||
	    jwk_read_file(rest, 0, &release, &f) < 0 || jwk_new(&owner, &f) < 0 ||
	    client_open(&admins, key, deadline_ms, &admin, &f) < 0)
		fail_msg("%s", f.text);
	other_way.n = urls.n;
	for (size_t i = 0; i < urls.n; i++)
		other_way.at[i] = urls.at[urls.n - 1 - i];
	enrol(admin);
	for (unsigned i = 0; i < n_vms; i++) {
		simvm_make(&vms[i].v, i, owner, release);
		vms[i].left_with = -1;
	}
	client_close(admin);
	jwk_free(key);
	jwk_free(release);
	jwk_free(owner);
	say_names();
	read_line(line);
}

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	char path[4096];
	struct maker maker;
	pthread_t threads[THREADS_MAX];
	if (argc != 9 || crypto_init() < 0 || number(argv[2]) <= number(argv[4]) ||
	    number(argv[4]) > THREADS_MAX) {
		fputs("usage: guardian_starts FOLDER HOSTS VMS THREADS STARTS SEED PAUSE-MS"
		      " DEADLINE-MS, with more hosts than threads\n",
		      stderr);
		return 2;
	}
	n_hosts = number(argv[2]);
	n_vms = number(argv[3]);
	n_threads = number(argv[4]);
	n_starts = number(argv[5]);
	seed = (uint32_t)number(argv[6]);
	pause_ms = number(argv[7]);
	deadline_ms = (int)number(argv[8]);
	hosts = calloc(n_hosts, sizeof(*hosts));
	vms = calloc(n_vms, sizeof(*vms));
	busy = calloc(n_hosts, 1);
	assert_true(hosts && vms && busy);
	fleet_boot(&boot, EVENTS, IMA_ENTRIES);
	maker_make(&maker);
	for (unsigned i = 0; i < n_hosts; i++)
		simhost_make(&hosts[i], i, &maker, &boot);
	snprintf(path, sizeof(path), "%s/makers.pem", argv[1]);
	maker_write(&maker, path);
	snprintf(path, sizeof(path), "%s/observations", argv[1]);
	observations = fopen(path, "w");
	assert_non_null(observations);
	puts("{\"ready\":true}");
	fflush(stdout);
	begin();
	for (unsigned i = 0; i < n_threads; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, NULL), 0);
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	puts("{\"done\":true}");
	return fclose(observations) == 0 ? 0 : 1;
}
