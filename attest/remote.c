/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/refusal.h"
#include "base/fd.h"
#include "base/paths.h"
#include "crypto/strict.h"

int remote_open(const char *urls, const char *key_path, const char *command, struct remote *out,
		struct fault *f)
{
	struct client_urls parsed;
	struct remote r CLEANUP_REMOTE = { 0 };
	int rc = client_urls_parse(urls, &parsed, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", command);
	rc = jwk_read_file(key_path, 1, &r.key, f);
	if (rc >= 0)
		rc = client_open(&parsed, r.key, CLIENT_DEADLINE_MS, &r.client, f);
	if (rc < 0)
		return rc;
	*out = r;
	r = (struct remote){ 0 };
	return 0;
}

void remote_done(struct remote *r)
{
	client_close(r->client);
	jwk_free(r->key);
}

/* Put what to do behind the sentence of a refusal. */
static int explain(const struct client_refusal *why, const struct fault *said, struct fault *f)
{
	const char *remedy = why->id[0] ? refusal_remedy(why->id) : NULL;
	return fault_set(f, said->rc, "%s%s%s%s", said->text, remedy ? " (" : "",
			 remedy ? remedy : "", remedy ? ")" : "");
}

static int ask(struct remote *r, const char *path, const json_t *body, enum client_repeat repeat,
	       json_t **out, struct client_refusal *why, struct fault *f)
{
	struct client_refusal *own = why ? why : malloc(sizeof(*own));
	struct fault said = { 0 };
	if (!own)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	int rc = client_ask(r->client, path, body, repeat, out, own, &said);
	if (rc < 0)
		explain(own, &said, f);
	if (!why)
		free(own);
	return rc;
}

int remote_post(struct remote *r, const char *path, json_t *body, enum client_repeat repeat,
		json_t **out, struct client_refusal *why, struct fault *f)
{
	CLEANUP_JSON json_t *owned = body;
	if (!body)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	return ask(r, path, owned, repeat, out, why, f);
}

int remote_get(struct remote *r, const char *path, json_t **out, struct client_refusal *why,
	       struct fault *f)
{
	return ask(r, path, NULL, CLIENT_REPEATABLE, out, why, f);
}

json_t *remote_bytes(const void *data, size_t n)
{
	CLEANUP_BUF struct buf text = BUF_INIT(2 * n + 4);
	if (strict_b64_put(&text, data, n) < 0)
		return NULL;
	return json_stringn(text.data ? (const char *)text.data : "", text.len);
}

static int bad(const char *name, struct fault *f)
{
	return fault_set(f, ERR_FORMAT, "the guardian's answer has no right \"%s\"", name);
}

int remote_take(const json_t *o, const char *name, uint8_t *out, size_t n, struct fault *f)
{
	const char *text = strict_text(o, name);
	return text && strict_b64(text, strlen(text), out, n) >= 0 ? 0 : bad(name, f);
}

int remote_take_buf(const json_t *o, const char *name, struct buf *out, struct fault *f)
{
	const char *text = strict_text(o, name);
	return text && strict_b64_buf(text, strlen(text), out) >= 0 ? 0 : bad(name, f);
}

int remote_take_number(const json_t *o, const char *name, int64_t *out, struct fault *f)
{
	const json_t *value = json_object_get(o, name);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return bad(name, f);
	*out = json_integer_value(value);
	return 0;
}

int remote_take_text(const json_t *o, const char *name, const char **out, struct fault *f)
{
	const char *text = strict_text(o, name);
	if (!text)
		return bad(name, f);
	*out = text;
	return 0;
}

/* A new one (RFC 9562, version 4), unless somebody else makes one meanwhile. */
static int make_id(struct fault *f)
{
	uint8_t id[UUID_BYTES];
	char text[UUID_TEXT_SIZE + 1];
	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return fault_set(f, -EIO, "the kernel gives no random numbers");
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
	uuid_format(id, text);
	text[UUID_TEXT_SIZE - 1] = '\n';
	if (mkdir(PATH_ETC, 0755) < 0 && errno != EEXIST)
		return fault_set(f, -errno, PATH_ETC ": %s", err_text(-errno));
	int rc = fd_write_file(AT_FDCWD, PATH_HOST_ID, text, UUID_TEXT_SIZE, 0644, 0, f);
	return rc == -EEXIST ? 0 : rc;
}

int remote_host_id(int make, uint8_t id[static UUID_BYTES], struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(UUID_TEXT_SIZE);
	struct stat st;
	if (lstat(PATH_HOST_ID, &st) < 0 && errno == ENOENT) {
		if (!make)
			return fault_set(f, -ENOENT,
					 "this host is not enrolled with a guardian: run shieldvm"
					 " host enrol first");
		int rc = make_id(f);
		if (rc < 0)
			return rc;
	}
	int rc = fd_read_file(AT_FDCWD, PATH_HOST_ID, &text, f);
	if (rc < 0)
		return rc;
	if (text.len == UUID_TEXT_SIZE && text.data[text.len - 1] == '\n')
		text.len--;
	const char *uuid = buf_cstr(&text);
	return uuid && uuid_parse(uuid, id) == 0
		       ? 0
		       : fault_set(f, ERR_FORMAT, PATH_HOST_ID " is not a UUID and a newline");
}
