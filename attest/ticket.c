/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/ticket.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/sign.h"
#include "crypto/strict.h"

#define SUFFIX	  ".ticket"
#define NAME_SIZE (UUID_TEXT_SIZE + sizeof(SUFFIX))
#define BASE64URL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

static void name_of(const uint8_t vm[static UUID_BYTES], char out[static NAME_SIZE])
{
	uuid_format(vm, out);
	memcpy(out + UUID_TEXT_SIZE - 1, SUFFIX, sizeof(SUFFIX));
}

/* Three parts of base64url with dots between them (RFC 7515, section 7.1). */
static int check(const char *text, size_t n, struct fault *f)
{
	size_t parts = 1, in_part = 0;
	if (n > SIGN_TEXT_MAX)
		return fault_set(f, ERR_LIMIT, "a ticket has at most %d characters", SIGN_TEXT_MAX);
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '.' && in_part > 0) {
			parts++;
			in_part = 0;
		} else if (text[i] && strchr(BASE64URL, text[i])) {
			in_part++;
		} else {
			return fault_set(f, ERR_FORMAT,
					 "this is no ticket, as shieldvm key ticket prints it");
		}
	}
	return parts == 3 && in_part > 0
		       ? 0
		       : fault_set(f, ERR_FORMAT,
				   "this is no ticket, as shieldvm key ticket prints it");
}

int ticket_put(int dir, const uint8_t vm[static UUID_BYTES], const char *text, size_t n,
	       struct fault *f)
{
	char name[NAME_SIZE];
	name_of(vm, name);
	if (n > 0 && text[n - 1] == '\n')
		n--;
	int rc = check(text, n, f);
	return rc < 0 ? rc : fd_write_file(dir, name, text, n, 0600, 1, f);
}

int ticket_read(int dir, const uint8_t vm[static UUID_BYTES], struct buf *out, struct fault *f)
{
	char name[NAME_SIZE];
	struct fault why = { 0 };
	size_t before = out->len;
	name_of(vm, name);
	int rc = fd_read_file(dir, name, out, &why);
	if (rc == -ENOENT)
		return rc;
	if (rc >= 0)
		rc = check((const char *)out->data + before, out->len - before, &why);
	return rc < 0 ? fault_set(f, rc, "%s: %s", name, why.text) : 0;
}

uint64_t ticket_version(const struct buf *ticket, const struct jwk *owner,
			const uint8_t vm[static UUID_BYTES])
{
	CLEANUP_BUF struct buf said = BUF_INIT(SIGN_TEXT_MAX);
	CLEANUP_JSON json_t *o = NULL;
	uint8_t of[UUID_BYTES];
	struct fault unused = { 0 };
	if (sign_open(owner, TICKET_TYP, (const char *)ticket->data, ticket->len, &said, &unused) <
		    0 ||
	    strict_json((const char *)said.data, said.len, "the ticket", &o, &unused) < 0)
		return 0;
	const char *id = strict_text(o, "vm");
	json_int_t version = json_integer_value(json_object_get(o, "version"));
	return id && uuid_parse(id, of) >= 0 && memcmp(of, vm, UUID_BYTES) == 0 && version > 0
		       ? (uint64_t)version
		       : 0;
}

int ticket_remove(int dir, const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	char name[NAME_SIZE];
	name_of(vm, name);
	if (unlinkat(dir, name, 0) < 0)
		return errno == ENOENT ? 0 : fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	return fsync(dir) < 0 ? fault_set(f, -errno, "%s: %s", name, err_text(-errno)) : 0;
}
