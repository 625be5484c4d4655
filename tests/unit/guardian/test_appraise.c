/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole appraisal of what a software TPM has really signed, and of everything that may be put in
 * its place: each refused under its own id, and after a quote that is not believed nothing else is
 * told.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/hosttpm.h"
#include "base/clock.h"
#include "base/fd.h"
#include "crypto/init.h"
#include "guardian/capture.h"
#include "guardian/verifier.h"
#include "sandbox/filter.h"
#include "sandbox/phases.h"
#include "tests/unit/attest/statements.h"
#include "tests/unit/attest/swtpm_bed.h"
#include "tests/unit/guardian/host.h"
#include "tests/unit/test.h"

/* A host with its TPM, and what it answered. */
struct bed {
	struct swtpm_bed tpm;
	struct host host;
	struct hosttpm_identity id;
	struct challenge challenge;
	uint8_t uuid[UUID_BYTES];
	struct evidence evidence, older, other_pcr; /* older: to an earlier challenge */
};
static struct bed one, two;
static struct policy *policy;

/* Extend the TPM's PCRs with what is in the log. */
static void extend(struct bed *b)
{
	static char args[64][80];
	char *argv[66] = { "tpm2_pcrextend" };
	size_t n = 0;
	for (size_t i = 0; i < eventlog_count(b->host.parsed); i++) {
		const struct event *e = eventlog_event(b->host.parsed, i);
		int at = snprintf(args[n], sizeof(args[n]), "%u:sha256=", e->pcr);
		for (int k = 0; k < 32; k++)
			at += snprintf(args[n] + at, sizeof(args[n]) - (size_t)at, "%02x",
				       e->digest[k]);
		argv[n + 1] = args[n];
		assert_true(++n < 64);
	}
	pid_t pid = fork();
	if (pid == 0) {
		setenv("TPM2TOOLS_TCTI", b->tpm.tcti, 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	int status = -1;
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void gather(struct bed *b, struct hosttpm *t, uint8_t nonce, uint32_t mask,
		   struct evidence *out)
{
	static const uint8_t NO_WORKER[ATTEST_WORKER_KEY_BYTES];
	struct fault f = { 0 };
	struct challenge c = { .bank = HASH_SHA256, .mask = mask };
	char path[128], empty[128];
	memset(c.nonce, nonce, sizeof(c.nonce));
	snprintf(path, sizeof(path), "%s/log", b->tpm.folder);
	snprintf(empty, sizeof(empty), "%s/empty", b->tpm.folder);
	assert_int_equal(
		fd_write_file(AT_FDCWD, path, b->host.log.data, b->host.log.len, 0600, 1, &f), 0);
	assert_int_equal(fd_write_file(AT_FDCWD, empty, "", 0, 0600, 1, &f), 0);
	if (evidence_gather(t, &c, b->uuid, NO_WORKER, path, empty, out, &f) < 0)
		fail_msg("%s", f.text);
	unlink(path);
	unlink(empty);
}

static void open_bed(struct bed *b, uint8_t mark)
{
	struct hosttpm *t = NULL;
	struct fault f = { 0 };
	swtpm_bed_open(&b->tpm, 0);
	swtpm_bed_start(&b->tpm);
	host_usual(&b->host, 1, NULL, "lockdown=integrity");
	host_measured(&b->host);
	extend(b);
	memset(b->uuid, mark, sizeof(b->uuid));
	if (hosttpm_open(b->tpm.tcti, &t, &f) < 0 || hosttpm_identity(t, &b->id, &f) < 0)
		fail_msg("%s", f.text);
	gather(b, t, 1, CHALLENGE_MASK, &b->older);
	gather(b, t, 2, (CHALLENGE_MASK & ~(1U << 7)) | 1U << 23, &b->other_pcr);
	gather(b, t, 2, CHALLENGE_MASK, &b->evidence);
	hosttpm_close(t);
	b->challenge = (struct challenge){ .bank = HASH_SHA256, .mask = CHALLENGE_MASK };
	memset(b->challenge.nonce, 2, sizeof(b->challenge.nonce));
}

static void close_bed(struct bed *b)
{
	evidence_done(&b->evidence);
	evidence_done(&b->older);
	evidence_done(&b->other_pcr);
	hosttpm_identity_done(&b->id);
	host_done(&b->host);
	swtpm_bed_done(&b->tpm);
}

static int setup(void **state)
{
	struct fault f = { 0 };
	(void)state;
	open_bed(&one, 0x11);
	open_bed(&two, 0x22);
	assert_int_equal(policy_new(&policy), 0);
	if (policy_learn(policy, "base", BASELINE_STRUCTURED, &one.host.m, &f) < 0)
		fail_msg("%s", f.text);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	policy_free(policy);
	close_bed(&one);
	close_bed(&two);
	return 0;
}

/* A copy of E, through its text. */
static void copy(const struct evidence *e, struct evidence *out)
{
	CLEANUP_BUF struct buf text = BUF_INIT(EVIDENCE_TEXT_MAX);
	struct fault f = { 0 };
	if (evidence_text(e, &text, &f) < 0 ||
	    evidence_parse((char *)text.data, text.len, out, &f) < 0)
		fail_msg("%s", f.text);
}

static struct appraisal_of of_one(void)
{
	struct appraisal_of of = { .challenge = one.challenge,
				   .ak = { one.id.ak_pub.data, one.id.ak_pub.len },
				   .policy = policy };
	memcpy(of.host, one.uuid, sizeof(of.host));
	return of;
}

static void set(struct buf *to, const struct buf *from)
{
	buf_clear(to);
	assert_int_equal(buf_add(to, from->data, from->len), 0);
}

/* E is refused for ID, and if it is not TRUSTED nothing of logs and policy is told. */
static void refused(const struct appraisal_of *of, const struct evidence *e, const char *id,
		    int trusted)
{
	struct fault f = { 0 };
	struct appraisal *a = calloc(1, sizeof(*a));
	int rc = appraise(of, e, a, &f);
	const struct finding *at = findings_get(&a->findings, id);
	if (rc >= 0 || !at || at->verdict != FINDING_FAILED)
		fail_msg("not refused for %s: %d %s", id, rc, f.text);
	assert_true(f.text[0]);
	for (unsigned i = 0; !trusted && i < a->findings.n; i++) {
		assert_int_not_equal(strncmp(a->findings.at[i].id, "log.", 4), 0);
		assert_int_not_equal(strncmp(a->findings.at[i].id, "boot.", 5), 0);
		assert_string_not_equal(a->findings.at[i].id, "baseline.match");
	}
	assert_true(!trusted == !findings_get(&a->findings, "baseline.match"));
	free(a);
}

static void test_a_healthy_host(void **state)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	struct fault f = { 0 };
	struct appraisal *a = calloc(1, sizeof(*a));
	(void)state;
	copy(&one.evidence, &e);
	if (appraise(&of, &e, a, &f) < 0)
		fail_msg("%s", f.text);
	assert_true(findings_good(&a->findings));
	assert_int_equal(findings_get(&a->findings, "log.replay")->verdict, FINDING_OK);
	assert_int_equal(findings_get(&a->findings, "baseline.match")->verdict, FINDING_OK);
	assert_int_equal(findings_get(&a->findings, "ima.absent")->verdict, FINDING_UNKNOWN);
	free(a);
}

#ifndef SANITIZED /* whose runtime makes system calls that no sealed process may */
/* The verifier's process, sealed before libcrypto has ever verified anything: it says what
 * appraise() does. */
static void test_in_the_sealed_verifier(void **state)
{
	(void)state;
	int ends[2], status;
	uint64_t id = 0;
	struct fault f = { 0 };
	struct link_verdict v;
	struct appraisal_of of = of_one();
	CLEANUP_BUF struct buf policy_said = BUF_INIT(POLICY_TEXT_MAX),
			       text = BUF_INIT(EVIDENCE_TEXT_MAX), body = BUF_INIT(LINK_BODY_MAX),
			       verdict = BUF_INIT(LINK_VERDICT_MAX);
	assert_int_equal(policy_text(policy, &policy_said, &f), 0);
	assert_int_equal(evidence_text(&one.evidence, &text, &f), 0);
	assert_int_equal(buf_addf(&body, "{\"evidence\":"), 0);
	assert_int_equal(buf_add(&body, text.data, text.len), 0);
	assert_int_equal(buf_addf(&body, "}"), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		alarm(60);
		if (crypto_init() < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    filter_load(&filter_verifier, &f) < 0)
			_exit(99);
		_exit(verifier_run(ends[1], &f) < 0);
	}
	close(ends[1]);
	struct link_judge head = { .challenge = of.challenge,
				   .n_ak = (uint32_t)of.ak.n,
				   .n_policy = (uint32_t)policy_said.len,
				   .n_body = (uint32_t)body.len };
	memcpy(head.host, of.host, sizeof(head.host));
	const struct link_part parts[] = { { &head, sizeof(head) },
					   { of.ak.data, of.ak.n },
					   { policy_said.data, policy_said.len },
					   { body.data, body.len } };
	assert_int_equal(link_write(ends[0], LINK_JUDGE, 5, parts, 4), 0);
	int rc = link_read(ends[0], LINK_VERDICT, clock_ms() + 30000, &id, &verdict);
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (rc < 0 || status != 0)
		fail_msg("no verdict (%d), wait status %#x", rc, (unsigned int)status);
	size_t at = 0;
	assert_int_equal(link_take(&verdict, &at, &v, sizeof(v)), 0);
	assert_true(id == 5);
	assert_int_equal(v.healthy, 1);
	assert_true(v.n_findings > 5);
}

#endif

static void test_another_frame(void **state)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	(void)state;
	copy(&one.evidence, &e);
	of.challenge.nonce[31] ^= 1;
	refused(&of, &e, "evidence.nonce", 0);
	memcpy(e.nonce, of.challenge.nonce, sizeof(e.nonce));
	refused(&of, &e, "quote.nonce", 0);
	of = of_one();
	memcpy(e.nonce, of.challenge.nonce, sizeof(e.nonce));
	of.host[0] ^= 1;
	refused(&of, &e, "evidence.host", 0);
	e.host[0] ^= 1;
	refused(&of, &e, "quote.nonce", 0);
	of = of_one();
	e.host[0] ^= 1;
	e.worker[0] = 4;
	refused(&of, &e, "quote.nonce", 0);
	e.worker[0] = 0;
	of.challenge.mask |= 1U << 15;
	refused(&of, &e, "evidence.pcrs", 0);
	of.challenge.mask = e.pcrs.mask = 0x7f;
	refused(&of, &e, "quote.selection", 0);
	/* An answer to an earlier challenge. */
	of = of_one();
	refused(&of, &one.older, "evidence.nonce", 0);
}

static void test_another_quote(void **state)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	(void)state;
	/* PCR 23, which anybody may reset, offered as 7. */
	copy(&one.other_pcr, &e);
	memcpy(e.pcrs.value[7], e.pcrs.value[23], 32);
	e.pcrs.mask = CHALLENGE_MASK;
	refused(&of, &e, "quote.selection", 0);
	evidence_done(&e);
	copy(&one.evidence, &e);
	e.pcrs.value[7][0] ^= 1;
	refused(&of, &e, "quote.digest", 0);
	e.pcrs.value[7][0] ^= 1;
	for (size_t i = 0; i < e.quote.len; i++) {
		e.quote.data[i] ^= 1;
		refused(&of, &e, "quote.signature", 0);
		e.quote.data[i] ^= 1;
	}
	set(&e.quote, &one.older.quote);
	refused(&of, &e, "quote.signature", 0);
	set(&e.quote_signature, &one.older.quote_signature);
	refused(&of, &e, "quote.nonce", 0);
	set(&e.quote, &two.evidence.quote);
	set(&e.quote_signature, &two.evidence.quote_signature);
	refused(&of, &e, "quote.signature", 0);
	buf_clear(&e.quote);
	refused(&of, &e, "quote.signature", 0);
}

static void test_another_key(void **state)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	(void)state;
	copy(&one.evidence, &e);
	of.ak = (struct blob){ two.id.ak_pub.data, two.id.ak_pub.len };
	refused(&of, &e, "quote.signature", 0);
	of.ak = (struct blob){ e.bk_pub.data, e.bk_pub.len };
	refused(&of, &e, "ak.attributes", 0);
	of.ak = (struct blob){ NULL, 0 };
	struct fault f = { 0 };
	struct appraisal *a = calloc(1, sizeof(*a));
	assert_true(appraise(&of, &e, a, &f) < 0);
	free(a);
	of = of_one();
	set(&e.creation, &one.older.creation);
	refused(&of, &e, "creation.signature", 0);
	set(&e.creation_signature, &one.older.creation_signature);
	refused(&of, &e, "creation.nonce", 0);
	set(&e.creation, &two.evidence.creation);
	set(&e.creation_signature, &two.evidence.creation_signature);
	refused(&of, &e, "creation.signature", 0);
	set(&e.bk_pub, &two.evidence.bk_pub);
	refused(&of, &e, "quote.nonce", 0);
}

/* What a TPM may say of the making of the key and of the time, in a quote and a certificate that
 * are otherwise as they should be. */
struct said {
	TPMS_CLOCK_INFO quoted, created;
	TPMS_CREATION_DATA data;
	int other_data; /* is sent than is certified */
};

static void put(struct buf *to, const struct bytes *from)
{
	buf_clear(to);
	assert_int_equal(buf_add(to, from->data, from->n), 0);
}

/* Sign ATTEST by K into TEXT and SIGNATURE. */
static void put_signed(EVP_PKEY *k, const TPMS_ATTEST *attest, struct buf *text,
		       struct buf *signature)
{
	struct bytes b = marshal_attest(attest);
	TPMT_SIGNATURE sig = sign_text(k, &b);
	put(text, &b);
	b = marshal_signature(&sig);
	put(signature, &b);
}

/* The verdict on ID when one's TPM, or one that was made here, has SAID so; and FINDING_OK only if
 * that alone is in the way of nothing. */
static enum finding_verdict judge_said(struct said said, const char *id)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	struct fault f = { 0 };
	uint8_t name[TPM_NAME_BYTES], extra[32];
	copy(&one.evidence, &e);
	EVP_PKEY *k = EVP_EC_gen("P-256"), *bk_key = EVP_EC_gen("P-256");
	TPMT_PUBLIC area = public_ak(k), bk_area = public_bk(bk_key, &e.pcrs);
	struct bytes ak = marshal_public(&area), bk = marshal_public(&bk_area);
	struct bytes data = marshal_creation_data(&said.data);
	of.ak = blob_of(&ak);
	put(&e.bk_pub, &bk);
	assert_int_equal(tpm_name(blob_of(&bk), name, &f), 0);
	assert_int_equal(quote_extra(e.nonce, name, e.worker, e.host, extra), 0);
	TPMS_ATTEST quote = quote_of(&e.pcrs, extra), creation = creation_of(&bk, e.nonce);
	quote.clockInfo = said.quoted;
	creation.clockInfo = said.created;
	assert_int_equal(hash_data(HASH_SHA256, data.data, data.n,
				   creation.attested.creation.creationHash.buffer),
			 0);
	said.data.locality ^= (TPMA_LOCALITY)said.other_data;
	data = marshal_creation_data(&said.data);
	put(&e.creation_data, &data);
	put_signed(k, &quote, &e.quote, &e.quote_signature);
	put_signed(k, &creation, &e.creation, &e.creation_signature);
	EVP_PKEY_free(k);
	EVP_PKEY_free(bk_key);
	struct appraisal *a = calloc(1, sizeof(*a));
	int rc = appraise(&of, &e, a, &f);
	const struct finding *at = findings_get(&a->findings, id);
	enum finding_verdict got = at ? at->verdict : FINDING_UNKNOWN;
	assert_int_equal(rc == 0, got == FINDING_OK);
	/* Nothing of the logs is told of a host whose key is not believed. */
	assert_int_equal(findings_get(&a->findings, "log.replay") != NULL, rc == 0);
	free(a);
	return got;
}

static struct said usual(void)
{
	TPMS_CLOCK_INFO now = { .clock = 10, .resetCount = 5, .restartCount = 6, .safe = 1 };
	return (struct said){ now, now, creation_data(), 0 };
}

/* Quote and key are of one start of the TPM. */
static void test_one_boot(void **state)
{
	struct said said = usual();
	(void)state;
	said.quoted.clock = 9999;
	assert_int_equal(judge_said(said, "creation.boot"), FINDING_OK);
	for (int by = -1; by <= 1; by += 2) {
		said = usual();
		said.created.resetCount += (UINT32)by;
		assert_int_equal(judge_said(said, "creation.boot"), FINDING_FAILED);
		said = usual();
		said.created.restartCount += (UINT32)by;
		assert_int_equal(judge_said(said, "creation.boot"), FINDING_FAILED);
		/* As many counts in all. */
		said.created.resetCount -= (UINT32)by;
		assert_int_equal(judge_said(said, "creation.boot"), FINDING_FAILED);
	}
}

static void test_another_hierarchy(void **state)
{
	struct said said = usual();
	(void)state;
	assert_int_equal(judge_said(said, "creation.hierarchy"), FINDING_OK);
	said.data.parentName.name[3] = said.data.parentQualifiedName.name[3] = 1; /* the owner's */
	assert_int_equal(judge_said(said, "creation.hierarchy"), FINDING_FAILED);
	said = usual();
	said.other_data = 1;
	assert_int_equal(judge_said(said, "creation.data"), FINDING_FAILED);
	/* A real one without them, and with another's. */
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	copy(&one.evidence, &e);
	said = usual();
	said.data.locality = TPMA_LOCALITY_TPM2_LOC_FOUR;
	struct bytes other = marshal_creation_data(&said.data);
	put(&e.creation_data, &other);
	refused(&of, &e, "creation.data", 0);
	buf_clear(&e.creation_data);
	refused(&of, &e, "creation.data", 0);
}

/* The log of one, but for what CHANGE does before the usual events or behind them. */
static void other_log(struct evidence *e, void (*change)(struct host *h))
{
	struct host h;
	host_usual(&h, 1, NULL, "lockdown=integrity");
	change(&h);
	set(&e->eventlog, &h.log);
	host_done(&h);
}

static void append_event(struct host *h)
{
	host_text(h, 7, EV_EFI_ACTION, "more");
}

static void append_to_bank(struct host *h)
{
	h->log.data[60] = HASH_SHA384;
	h->log.data[62] = 48;
}

static void unknown_algorithm(struct host *h)
{
	h->log.data[60] = 0x77;
}

static void huge_event(struct host *h)
{
	h->log.data[114] = 0xc0;
}

static void unknown_type(struct host *h)
{
	h->log.data[69] = 0x77;
}

static void second_separator(struct host *h)
{
	host_event(h, 7, EV_SEPARATOR, "\0\0\0", 4, "\0\0\0", 4);
}

static void drop_last(struct host *h)
{
	h->log.len -= 50 + strlen("Exit Boot Services Returned with Success");
}

static void torn(struct host *h)
{
	h->log.len--;
}

static void test_another_log(void **state)
{
	static const struct {
		void (*change)(struct host *h);
		const char *id;
	} ROWS[] = {
		{ append_event, "log.replay" },
		{ append_to_bank, "log.bank" },
		{ unknown_algorithm, "log.algorithm" },
		{ huge_event, "log.size" },
		{ unknown_type, "log.type" },
		{ second_separator, "log.separator" },
		{ drop_last, "log.replay" },
		{ torn, "log.truncated" },
	};
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	(void)state;
	copy(&one.evidence, &e);
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		other_log(&e, ROWS[i].change);
		refused(&of, &e, ROWS[i].id, 1);
	}
	buf_clear(&e.eventlog);
	refused(&of, &e, "log.absent", 1);
	/* Of another host with the same TPM: 0 with its variable SecureBoot. */
	struct host h;
	host_usual(&h, 0, NULL, "lockdown=integrity");
	set(&e.eventlog, &h.log);
	host_done(&h);
	refused(&of, &e, "log.replay", 1);
}

static void test_ima_lists(void **state)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	struct host h;
	(void)state;
	copy(&one.evidence, &e);
	host_open(&h);
	host_ima(&h, "boot_aggregate", NULL);
	set(&e.ima, &h.ima);
	host_done(&h);
	/* PCR 10 was never extended. */
	refused(&of, &e, "ima.replay", 1);
	assert_int_equal(buf_add(&e.ima, "x", 1), 0);
	refused(&of, &e, "ima.truncated", 1);
}

static void test_a_policy_that_demands_more(void **state)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct appraisal_of of = of_one();
	struct fault f = { 0 };
	(void)state;
	copy(&one.evidence, &e);
	assert_int_equal(policy_demand(policy, "kernel.no-debugger", 1, &f), 0);
	refused(&of, &e, "kernel.no-debugger", 1);
	assert_int_equal(policy_demand(policy, "kernel.no-debugger", 0, &f), 0);
	assert_int_equal(policy_remove(policy, "base", &f), 0);
	refused(&of, &e, "baseline.match", 1);
	assert_int_equal(policy_learn(policy, "base", BASELINE_STRUCTURED, &one.host.m, &f), 0);
}

static void test_capture(void **state)
{
	CLEANUP_BUF struct buf text = BUF_INIT(CAPTURE_TEXT_MAX);
	struct capture c CLEANUP(capture_done) = { 0 };
	struct policy *p = NULL;
	struct fault f = { 0 };
	(void)state;
	struct blob ak = { one.id.ak_pub.data, one.id.ak_pub.len };
	assert_int_equal(policy_new(&p), 0);
	assert_int_equal(capture_text(ak, &one.evidence, &text, &f), 0);
	assert_int_equal(capture_parse((char *)text.data, text.len, &c, &f), 0);
	assert_int_equal(capture_learn(&c, p, "a", BASELINE_EXACT, &f), 0);
	assert_int_equal(capture_learn(&c, p, "b", BASELINE_STRUCTURED, &f), 0);
	assert_int_equal(capture_learn(&c, p, "b", BASELINE_STRUCTURED, &f), ERR_STATE);
	struct appraisal_of of = of_one();
	of.policy = p;
	struct appraisal *a = calloc(1, sizeof(*a));
	assert_int_equal(appraise(&of, &one.evidence, a, &f), 0);
	free(a);
	set(&c.ak, &two.id.ak_pub);
	assert_int_equal(capture_learn(&c, p, "c", BASELINE_EXACT, &f), ERR_AUTH);
	set(&c.ak, &one.id.ak_pub);
	c.evidence.eventlog.len -= 1;
	assert_int_equal(capture_learn(&c, p, "c", BASELINE_EXACT, &f), ERR_TRUNCATED);
	policy_free(p);
	assert_int_equal(capture_parse((char *)text.data, text.len - 1, &c, &f), ERR_FORMAT);
}

/* What systemd-pcrphase extends is known; anything else in PCR 11 is told, and its log not
 * believed. */
static void test_phases(void **state)
{
	static const char *const PHASES[] = { "enter-initrd", "leave-initrd", "sysinit", "ready",
					      "something" };
	struct host h;
	char arg[128];
	(void)state;
	host_usual(&h, 1, NULL, "lockdown=integrity");
	host_measured(&h);
	for (size_t i = 0; i < 5; i++) {
		uint8_t digest[32];
		struct hosttpm *t = NULL;
		struct fault f = { 0 };
		struct evidence e CLEANUP(evidence_done) = { 0 };
		struct appraisal_of of = of_one();
		assert_int_equal(hash_data(HASH_SHA256, PHASES[i], strlen(PHASES[i]), digest), 0);
		int at = snprintf(arg, sizeof(arg), "11:sha256=");
		for (int k = 0; k < 32; k++)
			at += snprintf(arg + at, sizeof(arg) - (size_t)at, "%02x", digest[k]);
		pid_t pid = fork();
		if (pid == 0) {
			setenv("TPM2TOOLS_TCTI", one.tpm.tcti, 1);
			execlp("tpm2_pcrextend", "tpm2_pcrextend", arg, NULL);
			_exit(127);
		}
		int status = -1;
		assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
		assert_int_equal(hosttpm_open(one.tpm.tcti, &t, &f), 0);
		gather(&one, t, 2, CHALLENGE_MASK, &e);
		hosttpm_close(t);
		struct appraisal *a = calloc(1, sizeof(*a));
		int rc = appraise(&of, &e, a, &f);
		assert_int_equal(findings_get(&a->findings, "log.runtime")->verdict,
				 i < 4 ? FINDING_OK : FINDING_UNKNOWN);
		assert_int_equal(findings_get(&a->findings, "kernel.lockdown")->verdict,
				 i < 4 ? FINDING_OK : FINDING_UNKNOWN);
		/* The baseline has PCR 11. */
		assert_true(i < 4 ? rc == 0 : rc < 0);
		free(a);
	}
	host_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef SANITIZED
		cmocka_unit_test(test_in_the_sealed_verifier),
#endif
		cmocka_unit_test(test_a_healthy_host),
		cmocka_unit_test(test_another_frame),
		cmocka_unit_test(test_another_quote),
		cmocka_unit_test(test_another_key),
		cmocka_unit_test(test_one_boot),
		cmocka_unit_test(test_another_hierarchy),
		cmocka_unit_test(test_another_log),
		cmocka_unit_test(test_ima_lists),
		cmocka_unit_test(test_a_policy_that_demands_more),
		cmocka_unit_test(test_capture),
		cmocka_unit_test(test_phases),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
