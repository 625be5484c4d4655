/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/host.h"

#include <string.h>

#include "tests/unit/test.h"

static const uint8_t GLOBAL[16] = { 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
				    0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c };
static const uint8_t SECURITY[16] = { 0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
				      0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f };
static const uint8_t TYPE_SHA256[16] = { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
					 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28 };

static void put(struct buf *b, const void *data, size_t n)
{
	assert_int_equal(buf_add(b, data, n), 0);
}

static void put_number(struct buf *b, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = i < 8 ? (uint8_t)(value >> (8 * i)) : 0;
		put(b, &byte, 1);
	}
}

void host_open(struct host *h)
{
	*h = (struct host){ .log = BUF_INIT(EVENTLOG_BYTES_MAX), .ima = BUF_INIT(IMA_BYTES_MAX) };
	h->pcrs.bank = HASH_SHA256;
	h->pcrs.mask = 0x7fff;
	put_number(&h->log, 0, 4);
	put_number(&h->log, EV_NO_ACTION, 4);
	put_number(&h->log, 0, 20);
	put_number(&h->log, 33, 4);
	put(&h->log, "Spec ID Event03", 16);
	put_number(&h->log, 0, 4);
	put(&h->log, "\0\2\0\2", 4);
	put_number(&h->log, 1, 4);
	put_number(&h->log, HASH_SHA256, 2);
	put_number(&h->log, 32, 2);
	put_number(&h->log, 0, 1);
}

void host_done(struct host *h)
{
	eventlog_free(h->parsed);
	ima_free(h->list);
	buf_done(&h->log);
	buf_done(&h->ima);
}

void host_event(struct host *h, uint32_t pcr, uint32_t type, const void *data, size_t n,
		const void *measured, size_t measured_n)
{
	uint8_t digest[32];
	assert_int_equal(hash_data(HASH_SHA256, measured, measured_n, digest), 0);
	assert_int_equal(hash_extend(HASH_SHA256, h->pcrs.value[pcr], digest), 0);
	put_number(&h->log, pcr, 4);
	put_number(&h->log, type, 4);
	put_number(&h->log, 1, 4);
	put_number(&h->log, HASH_SHA256, 2);
	put(&h->log, digest, 32);
	put_number(&h->log, n, 4);
	put(&h->log, data, n);
}

void host_text(struct host *h, uint32_t pcr, uint32_t type, const char *text)
{
	host_event(h, pcr, type, text, strlen(text), text, strlen(text));
}

void host_variable(struct host *h, uint32_t type, const char *name, const void *data, size_t n)
{
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	put(&b, strncmp(name, "db", 2) == 0 ? SECURITY : GLOBAL, 16);
	put_number(&b, strlen(name), 8);
	put_number(&b, n, 8);
	for (const char *c = name; *c; c++)
		put_number(&b, (uint8_t)*c, 2);
	put(&b, data, n);
	host_event(h, 7, type, b.data, b.len, b.data, b.len);
}

void host_dbx(struct host *h, uint8_t first, unsigned n)
{
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	put(&b, TYPE_SHA256, 16);
	put_number(&b, 28 + 48 * n, 4);
	put_number(&b, 0, 4);
	put_number(&b, 48, 4);
	for (unsigned i = 0; i < n; i++) {
		uint8_t signature[48] = { 0 };
		memset(signature + 16, first + (int)i, 32);
		put(&b, signature, sizeof(signature));
	}
	host_variable(h, EV_EFI_VARIABLE_DRIVER_CONFIG, "dbx", b.data, b.len);
}

void host_separators(struct host *h)
{
	for (uint32_t i = 0; i < 8; i++)
		host_event(h, i, EV_SEPARATOR, "\0\0\0", 4, "\0\0\0", 4);
}

static void host_grub(struct host *h, const char *label, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(8192);
	assert_int_equal(buf_addf(&b, "%s: %s", label, text), 0);
	put(&b, "", 1);
	host_event(h, 8, EV_IPL, b.data, b.len, text, strlen(text));
}

void host_cmdline(struct host *h, const char *text)
{
	CLEANUP_BUF struct buf command = BUF_INIT(8192), line = BUF_INIT(8192);
	assert_int_equal(buf_addf(&line, "/vmlinuz %s", text), 0);
	assert_int_equal(buf_addf(&command, "linux /vmlinuz %s", text), 0);
	host_grub(h, "grub_cmd", "set root=hd0");
	host_grub(h, "grub_cmd", buf_cstr(&command));
	host_grub(h, "kernel_cmdline", buf_cstr(&line));
}

static void put_field(struct buf *b, const void *data, size_t n)
{
	put_number(b, n, 4);
	put(b, data, n);
}

void host_ima(struct host *h, const char *name, const char *buffer)
{
	uint8_t file[32];
	memset(file, 7, sizeof(file));
	host_ima_file(h, name, file, buffer);
}

void host_ima_aggregate(struct host *h)
{
	uint8_t digest[32];
	struct hash_part parts[10];
	for (size_t i = 0; i < 10; i++)
		parts[i] = (struct hash_part){ h->pcrs.value[i], 32 };
	assert_int_equal(hash_parts(HASH_SHA256, parts, 10, digest), 0);
	host_ima_file(h, "boot_aggregate", digest, NULL);
}

void host_ima_file(struct host *h, const char *name, const uint8_t file[static 32],
		   const char *buffer)
{
	CLEANUP_BUF struct buf data = BUF_INIT(8192);
	uint8_t digest[8 + 32] = "sha256:", sha1[20], sha256[32];
	memcpy(digest + 8, file, 32);
	put_field(&data, digest, sizeof(digest));
	put_field(&data, name, strlen(name) + 1);
	if (buffer)
		put_field(&data, buffer, strlen(buffer));
	assert_int_equal(hash_data(HASH_SHA1, data.data, data.len, sha1), 0);
	assert_int_equal(hash_data(HASH_SHA256, data.data, data.len, sha256), 0);
	assert_int_equal(hash_extend(HASH_SHA256, h->pcrs.value[10], sha256), 0);
	put_number(&h->ima, 10, 4);
	put(&h->ima, sha1, 20);
	put_field(&h->ima, buffer ? "ima-buf" : "ima-ng", buffer ? 7 : 6);
	put_field(&h->ima, data.data, data.len);
}

void host_usual(struct host *h, int secure_boot, const char *firmware_says, const char *cmdline)
{
	const uint8_t on = secure_boot != 0;
	host_open(h);
	host_text(h, 0, EV_S_CRTM_VERSION, "1.0");
	host_event(h, 0, EV_EFI_PLATFORM_FIRMWARE_BLOB, "where", 5, "firmware", 8);
	host_variable(h, EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", &on, 1);
	host_variable(h, EV_EFI_VARIABLE_DRIVER_CONFIG, "PK", "platform", 8);
	host_variable(h, EV_EFI_VARIABLE_DRIVER_CONFIG, "KEK", "exchange", 8);
	host_variable(h, EV_EFI_VARIABLE_DRIVER_CONFIG, "db", "allowed", 7);
	host_dbx(h, 1, 2);
	if (firmware_says)
		host_text(h, 7, EV_EFI_ACTION, firmware_says);
	host_text(h, 4, EV_EFI_ACTION, "Calling EFI Application from Boot Option");
	host_separators(h);
	host_variable(h, EV_EFI_VARIABLE_AUTHORITY, "db", "vendor", 6);
	host_event(h, 4, EV_EFI_BOOT_SERVICES_APPLICATION, "path", 4, "loader", 6);
	if (cmdline)
		host_cmdline(h, cmdline);
	host_text(h, 5, EV_EFI_ACTION, "Exit Boot Services Invocation");
	host_text(h, 5, EV_EFI_ACTION, "Exit Boot Services Returned with Success");
}

const struct measured *host_measured(struct host *h)
{
	struct fault f = { 0 };
	const char *id = NULL;
	size_t n = 0;
	if (eventlog_parse(h->log.data, h->log.len, HASH_SHA256, &h->parsed, &id, &f) < 0)
		fail_msg("%s: %s", id, f.text);
	h->m = (struct measured){ .pcrs = &h->pcrs, .log = h->parsed, .proven = 0x7bff };
	if (h->ima.len) {
		assert_int_equal(ima_parse(h->ima.data, h->ima.len, &h->list, &id, &f), 0);
		assert_int_equal(ima_match(h->list, HASH_SHA256, h->pcrs.value[10], &n, &f), 0);
		h->m.ima = h->list;
	}
	return &h->m;
}
