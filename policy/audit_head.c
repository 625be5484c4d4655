/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/audit_head.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "policy/audit_line.h"

/* H's slot: text, its check, and blanks up to a newline. */
static int slot_put(const struct audit_head *h, char slot[static AUDIT_SLOT_BYTES])
{
	char hash[AUDIT_HEX_SIZE], check[AUDIT_HEX_SIZE], text[AUDIT_SLOT_BYTES];
	uint8_t digest[SIGN_SHA256_BYTES];
	audit_hex(h->hash, hash);
	int n = snprintf(text, sizeof(text),
			 "{\"v\":%d,\"turn\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"gen\":%" PRIu64
			 ",\"size\":%" PRIu64 ",\"drop\":%" PRIu64 ",\"hash\":\"%s\"",
			 AUDIT_VERSION, h->turn, h->seq, h->gen, h->size, h->drop, hash);
	int rc = sign_sha256(text, (size_t)n, digest);
	if (rc < 0)
		return rc;
	audit_hex(digest, check);
	n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"check\":\"%s\"}", check);
	memset(slot, ' ', AUDIT_SLOT_BYTES);
	memcpy(slot, text, (size_t)n);
	slot[AUDIT_SLOT_BYTES - 1] = '\n';
	return 0;
}

/* A slot is valid if it is what would be written for what is in it. */
static int slot_read(const char *slot, struct audit_head *out)
{
	struct audit_head h = { 0 };
	char text[AUDIT_SLOT_BYTES + 1], again[AUDIT_SLOT_BYTES], hash[AUDIT_HEX_SIZE] = "";
	memcpy(text, slot, AUDIT_SLOT_BYTES);
	text[AUDIT_SLOT_BYTES] = '\0';
	if (sscanf(text,
		   "{\"v\":1,\"turn\":%20" SCNu64 ",\"seq\":%20" SCNu64 ",\"gen\":%20" SCNu64
		   ",\"size\":%20" SCNu64 ",\"drop\":%20" SCNu64 ",\"hash\":\"%64[0-9a-f]",
		   &h.turn, &h.seq, &h.gen, &h.size, &h.drop, hash) != 6 ||
	    audit_unhex(hash, strlen(hash), h.hash) < 0 || slot_put(&h, again) < 0 ||
	    memcmp(again, slot, AUDIT_SLOT_BYTES) != 0)
		return ERR_FORMAT;
	*out = h;
	return 0;
}

int audit_head_parse(const char *bytes, size_t n, struct audit_head *out)
{
	struct audit_head slots[2];
	int valid[2];
	for (size_t i = 0; i < 2; i++)
		valid[i] = n >= (i + 1) * AUDIT_SLOT_BYTES &&
			   slot_read(bytes + i * AUDIT_SLOT_BYTES, &slots[i]) == 0;
	if (!valid[0] && !valid[1])
		return ERR_FORMAT;
	*out = slots[!valid[0] || (valid[1] && slots[1].turn > slots[0].turn)];
	return 0;
}

int audit_head_read(int fd, struct audit_head *out)
{
	char bytes[AUDIT_HEAD_BYTES];
	ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	return audit_head_parse(bytes, (size_t)n, out);
}

int audit_head_write(int fd, struct audit_head *h)
{
	char slot[AUDIT_SLOT_BYTES];
	h->turn++;
	int rc = slot_put(h, slot);
	if (rc < 0)
		return rc;
	ssize_t n = pwrite(fd, slot, sizeof(slot), (off_t)(h->turn % 2 * AUDIT_SLOT_BYTES));
	if (n < 0 || fdatasync(fd) < 0)
		return -errno;
	return n == sizeof(slot) ? 0 : -ENOSPC;
}
