/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libcurl verifies nothing itself here (CURLOPT_SSL_VERIFYPEER is 0): the context that it hands out
 * before each connection gets a verification of ours instead, by which the handshake fails unless
 * the peer has the pinned key (crypto/tlsclient.h).  That it ran is looked at again behind each
 * answer.
 */
#include "attest/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/strict.h"
#include "crypto/tlsclient.h"

#define HEADERS_MAX (64 * 1024)
#define AGENT	    "shieldvm"

/* One guardian, and the connection that is kept to it. */
struct guardian_end {
	CURL *curl;
	struct tlsclient *tls;
	struct buf answer;
	size_t headers; /* bytes of the present answer's */
	char text[CURL_ERROR_SIZE];
};

struct client {
	struct client_urls urls;
	struct guardian_end at[CLIENT_URLS_MAX];
	struct curl_slist *headers;
	size_t first; /* who is asked first */
	int deadline_ms;
	int64_t until_ms; /* the end of all requests */
};

/* ---- what libcurl calls ---- */

static CURLcode on_context(CURL *curl, void *context, void *arg)
{
	struct guardian_end *e = arg;
	(void)curl;
	return tlsclient_setup(e->tls, context) < 0 ? CURLE_SSL_CERTPROBLEM : CURLE_OK;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct guardian_end *e = arg;
	(void)one; /* is 1 */
	return buf_add(&e->answer, data, n) < 0 ? 0 : n;
}

static size_t on_header(char *data, size_t one, size_t n, void *arg)
{
	struct guardian_end *e = arg;
	(void)data;
	(void)one;
	e->headers += n;
	return e->headers > HEADERS_MAX ? 0 : n;
}

/* ---- opening ---- */

/* CURLE_TOO_LARGE of too many headers, which curl before 8.6 does not know. */
#define TOO_LARGE		 ((CURLcode)100)

#define SET(curl, option, value) (curl_easy_setopt(curl, option, value) == CURLE_OK)

/* What is the same for all requests. */
static int set_up(struct client *c, struct guardian_end *e)
{
	CURL *u = e->curl;
	return SET(u, CURLOPT_PROTOCOLS_STR, "https") &&
	       SET(u, CURLOPT_REDIR_PROTOCOLS_STR, "https") && SET(u, CURLOPT_FOLLOWLOCATION, 0L) &&
	       SET(u, CURLOPT_PROXY, "") && SET(u, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
	       SET(u, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
	       SET(u, CURLOPT_HTTP_CONTENT_DECODING, 0L) && SET(u, CURLOPT_NOSIGNAL, 1L) &&
	       SET(u, CURLOPT_USERAGENT, AGENT) && SET(u, CURLOPT_HTTPHEADER, c->headers) &&
	       SET(u, CURLOPT_ERRORBUFFER, e->text) &&
	       SET(u, CURLOPT_SSLVERSION,
		   (long)CURL_SSLVERSION_TLSv1_3 | (long)CURL_SSLVERSION_MAX_TLSv1_3) &&
	       SET(u, CURLOPT_SSL_VERIFYPEER, 0L) && SET(u, CURLOPT_SSL_VERIFYHOST, 0L) &&
	       SET(u, CURLOPT_SSL_SESSIONID_CACHE, 0L) &&
	       SET(u, CURLOPT_SSL_CTX_FUNCTION, on_context) && SET(u, CURLOPT_SSL_CTX_DATA, e) &&
	       SET(u, CURLOPT_WRITEFUNCTION, on_body) && SET(u, CURLOPT_WRITEDATA, e) &&
	       SET(u, CURLOPT_HEADERFUNCTION, on_header) && SET(u, CURLOPT_HEADERDATA, e) &&
	       SET(u, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)CLIENT_ANSWER_MAX);
}

static int add_header(struct client *c, const char *text)
{
	struct curl_slist *more = curl_slist_append(c->headers, text);
	if (!more)
		return -ENOMEM;
	c->headers = more;
	return 0;
}

/* tlsclient.h's context is OpenSSL's; libcurl could have been built with another library. */
static int is_openssl(void)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
	return v && v->ssl_version && strncmp(v->ssl_version, "OpenSSL/", 8) == 0;
}

int client_open(const struct client_urls *urls, const struct jwk *key, int deadline_ms,
		struct client **out, struct fault *f)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !is_openssl())
		return fault_set(f, ERR_CRYPTO, "this libcurl does not have OpenSSL's TLS");
	CLEANUP_CLIENT struct client *c = calloc(1, sizeof(*c));
	if (!c)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	c->urls = *urls;
	c->deadline_ms = deadline_ms;
	c->until_ms = INT64_MAX;
	int rc = add_header(c, "Content-Type: application/json");
	if (rc >= 0) /* do not wait for a "100 Continue" */
		rc = add_header(c, "Expect:");
	for (size_t i = 0; rc >= 0 && i < urls->n; i++) {
		c->at[i].answer = BUF_INIT(CLIENT_ANSWER_MAX);
		rc = tlsclient_new(key, urls->at[i].pin, &c->at[i].tls, f);
		if (rc >= 0)
			c->at[i].curl = curl_easy_init();
		if (rc >= 0 && !(c->at[i].curl && set_up(c, &c->at[i])))
			rc = fault_set(f, -ENOMEM, "libcurl cannot be set up");
	}
	if (rc < 0)
		return fault_set(f, rc, "%s", err_text(rc));
	*out = c;
	c = NULL;
	return 0;
}

void client_close(struct client *c)
{
	for (size_t i = 0; c && i < c->urls.n; i++) {
		curl_easy_cleanup(c->at[i].curl);
		tlsclient_free(c->at[i].tls);
		buf_done(&c->at[i].answer);
	}
	if (c)
		curl_slist_free_all(c->headers);
	free(c);
}

void client_until(struct client *c, int64_t until_ms)
{
	c->until_ms = until_ms;
}

int client_again(const struct client *c, size_t tries, int rc, const struct client_refusal *why,
		 const char *used)
{
	if (rc == ERR_POLICY && !why->unable && strcmp(why->id, used) == 0)
		return c->urls.n > 1 && tries < CLIENT_URLS_MAX;
	return rc == -ECONNABORTED && tries < c->urls.n;
}

const char *client_address(const struct client *c)
{
	return c->urls.at[c->first].address;
}

/* ---- one request to one guardian ---- */

struct request {
	const char *path;
	const char *body; /* NULL: GET */
	size_t n;
	int64_t until_ms;
};

/* Why nothing was answered. */
static int tell_why(const struct guardian_end *e, const char *address, CURLcode code,
		    struct fault *f)
{
	char found[JWK_THUMBPRINT_SIZE];
	curl_off_t sent = 0, headers = 0;
	long header_bytes = 0;
	int met = tlsclient_met(e->tls, found);
	if (met == ERR_AUTH)
		return fault_set(f, ERR_AUTH,
				 "%s has another key than the one in its address (%s): it is not"
				 " that guardian, or it was set up anew",
				 address, found[0] ? found : "not even of P-256");
	if (code == CURLE_WRITE_ERROR || code == CURLE_FILESIZE_EXCEEDED || code == TOO_LARGE)
		return fault_set(f, ERR_LIMIT, "%s: its answer is larger than any guardian's",
				 address);
	curl_easy_getinfo(e->curl, CURLINFO_SIZE_UPLOAD_T, &sent);
	curl_easy_getinfo(e->curl, CURLINFO_REQUEST_SIZE, &header_bytes);
	headers = header_bytes;
	int rc = sent + headers > 0		      ? -ECONNABORTED
		 : code == CURLE_OPERATION_TIMEDOUT   ? -ETIMEDOUT
		 : code == CURLE_COULDNT_RESOLVE_HOST ? -EHOSTUNREACH
						      : -ECONNREFUSED;
	return fault_set(f, rc, "%s: %s", address, e->text[0] ? e->text : curl_easy_strerror(code));
}

/* *STATUS is HTTP's. */
static int ask_one(struct client *c, size_t i, const struct request *r, long *status,
		   struct fault *f)
{
	char url[2 * CLIENT_URL_MAX], found[JWK_THUMBPRINT_SIZE];
	const char *address = c->urls.at[i].address;
	struct guardian_end *e = &c->at[i];
	int left = clock_left_ms(r->until_ms);
	int n = snprintf(url, sizeof(url), "%s%s", address, r->path);
	if (left == 0)
		return fault_set(f, -ETIMEDOUT, "%s: not asked any more: it took too long",
				 address);
	if (n < 0 || (size_t)n >= sizeof(url))
		return fault_set(f, ERR_LIMIT, "%s: the request's path is too long", address);
	int connect = left < CLIENT_CONNECT_MS ? left : CLIENT_CONNECT_MS;
	int ok = SET(e->curl, CURLOPT_URL, url) && SET(e->curl, CURLOPT_TIMEOUT_MS, (long)left) &&
		 SET(e->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)connect) &&
		 (r->body ? SET(e->curl, CURLOPT_POST, 1L) &&
				    SET(e->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->n) &&
				    SET(e->curl, CURLOPT_POSTFIELDS, r->body)
			  : SET(e->curl, CURLOPT_HTTPGET, 1L));
	if (!ok)
		return fault_set(f, -ENOMEM, "libcurl cannot be set up");
	buf_clear(&e->answer);
	e->headers = 0;
	e->text[0] = '\0';
	CURLcode code = curl_easy_perform(e->curl);
	if (code != CURLE_OK)
		return tell_why(e, address, code, f);
	if (tlsclient_met(e->tls, found) != 1)
		return fault_set(f, ERR_AUTH, "%s: the guardian's key was not seen", address);
	if (curl_easy_getinfo(e->curl, CURLINFO_RESPONSE_CODE, status) != CURLE_OK)
		return fault_set(f, ERR_FORMAT, "%s: an answer without a status", address);
	return 0;
}

/* ---- answers ---- */

static const char *known_id(const char *id)
{
	const char *known;
	for (unsigned i = 0; id && (known = finding_id(i)); i++) {
		if (strcmp(known, id) == 0)
			return known;
	}
	return NULL;
}

int client_findings(const json_t *list, struct findings *out, struct fault *f)
{
	static const struct {
		const char *word;
		enum finding_verdict verdict;
	} WORDS[] = { { "ok", FINDING_OK },
		      { "failed", FINDING_FAILED },
		      { "unknown", FINDING_UNKNOWN } };
	size_t i, w;
	json_t *at;
	out->n = 0;
	if (!json_is_array(list) || json_array_size(list) > FINDINGS_MAX)
		return fault_set(f, ERR_FORMAT, "the guardian's findings are no list of them");
	json_array_foreach(list, i, at)
	{
		const char *id = known_id(strict_text(at, "id"));
		const char *word = strict_text(at, "verdict"), *text = strict_text(at, "text");
		for (w = 0; word && w < 3 && strcmp(WORDS[w].word, word) != 0; w++)
			;
		if (!id || !word || !text || w == 3)
			return fault_set(
				f, ERR_FORMAT,
				"the guardian's finding %zu is none that is known here: use"
				" programs of versions that belong together",
				i + 1);
		finding_add(out, id, WORDS[w].verdict, "%s", text);
	}
	return 0;
}

/* {"status":"refused","id":...,"text":...} and perhaps findings. */
static int read_refusal(const char *address, long status, const json_t *o,
			struct client_refusal *why, struct fault *f)
{
	const char *is = strict_text(o, "status"), *id = strict_text(o, "id"),
		   *text = strict_text(o, "text");
	const json_t *findings = json_object_get(o, "findings");
	if (!is || strcmp(is, "refused") != 0 || !id || !text || strlen(id) >= CLIENT_ID_MAX)
		return fault_set(f, ERR_FORMAT, "%s: HTTP status %ld, and not a guardian's answer",
				 address, status);
	if (why)
		snprintf(why->id, sizeof(why->id), "%s", id);
	if (why && findings) {
		int rc = client_findings(findings, &why->findings, f);
		if (rc < 0)
			return rc;
	}
	return fault_set(f, ERR_POLICY, "the guardian refuses (%s): %s", id, text);
}

int client_answer(const char *address, long status, const struct buf *text, json_t **out,
		  struct client_refusal *why, struct fault *f)
{
	CLEANUP_JSON json_t *o = NULL;
	struct fault ignored = { 0 };
	int rc = strict_json((const char *)text->data, text->len, "the answer", &o, &ignored);
	if (rc < 0)
		return fault_set(f, ERR_FORMAT, "%s: HTTP status %ld, and not a guardian's answer",
				 address, status);
	if (status != 200)
		return read_refusal(address, status, o, why, f);
	*out = json_incref(o);
	return 0;
}

/* Put what another guardian's failure was behind what F says. */
static void add_failure(struct fault *f, const struct fault *more)
{
	char text[FAULT_TEXT_MAX];
	int rc = f->rc == ERR_AUTH || !f->text[0] ? f->rc : more->rc;
	snprintf(text, sizeof(text), "%s%s%s", f->text, f->text[0] ? "; " : "", more->text);
	f->rc = f->text[0] ? rc : more->rc;
	memcpy(f->text, text, sizeof(f->text));
}

static int ask_all(struct client *c, const struct request *r, enum client_repeat repeat,
		   json_t **out, struct client_refusal *why, struct fault *f)
{
	struct fault all = { 0 };
	for (size_t k = 0; k < c->urls.n; k++) {
		size_t i = (c->first + k) % c->urls.n;
		struct fault one = { 0 };
		long status = 0;
		int rc = ask_one(c, i, r, &status, &one);
		if (rc >= 0) {
			rc = client_answer(c->urls.at[i].address, status, &c->at[i].answer, out,
					   why, &one);
			if (rc >= 0 || status != 503) {
				c->first = i;
				return rc < 0 ? fault_set(f, rc, "%s", one.text) : 0;
			}
			if (rc == ERR_POLICY)
				fault_wrap(&one, rc, "%s", c->urls.at[i].address);
		}
		add_failure(&all, &one);
		if (rc == -ECONNABORTED && repeat == CLIENT_ONCE) {
			/* Somebody else may try again, elsewhere first. */
			c->first = (i + 1) % c->urls.n;
			all.rc = rc;
			break;
		}
	}
	if (why)
		why->unable = 1;
	return fault_set(f, all.rc, "%s", all.text);
}

int client_ask(struct client *c, const char *path, const json_t *body, enum client_repeat repeat,
	       json_t **out, struct client_refusal *why, struct fault *f)
{
	struct request r = { .path = path, .until_ms = clock_ms() + c->deadline_ms };
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	if (body && !text)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	if (why)
		memset(why, 0, sizeof(*why));
	if (r.until_ms > c->until_ms)
		r.until_ms = c->until_ms;
	r.body = text;
	r.n = text ? strlen(text) : 0;
	int rc = ask_all(c, &r, repeat, out, why, f);
	free(text);
	return rc;
}

int64_t client_renew_at(int64_t not_before, int64_t not_after, uint32_t random)
{
	int64_t life = not_after - not_before, spread = life / 10;
	return life <= 0 ? not_before
			 : not_before + life / 2 - spread +
				   (int64_t)(random % (2 * (uint64_t)spread + 1));
}
