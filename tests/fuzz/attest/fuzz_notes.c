/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a host keeps about leases, as files of arbitrary bytes.  The input: the letter that says
 * which, then the file:
 *   n  a lease note      c  a sealed copy      a  attest.json      t  a ticket
 * What is accepted is judged by jansson and by what the header says of each member, and is written
 * again with the same meaning; what is refused has a sentence, and leaves OUT as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/conf.h"
#include "attest/copy.h"
#include "attest/lease_note.h"
#include "attest/ticket.h"
#include "base/fd.h"
#include "crypto/strict.h"
#include "tests/fuzz/attest/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID "2f6e8c3a-9d5b-4c1e-8a7f-0b1c2d3e4f50"

static const char *const NAMES[] = { ID ".json", ID ".copy", ID ".ticket", "attest.json" };
static char folder[64], conf_path[96];
static int dir = -1;
static uint8_t vm[UUID_BYTES];

static void clean_up(void)
{
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		unlinkat(dir, NAMES[i], 0);
	rmdir(folder);
}

/* In memory, where there is such a file system: each write is durable. */
static void set_up(void)
{
	snprintf(folder, sizeof(folder), "/dev/shm/fuzz-notes-XXXXXX");
	if (!mkdtemp(folder)) {
		snprintf(folder, sizeof(folder), "/tmp/fuzz-notes-XXXXXX");
		must(mkdtemp(folder) != NULL);
	}
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir >= 0 && uuid_parse(ID, vm) >= 0);
	snprintf(conf_path, sizeof(conf_path), "%s/attest.json", folder);
	atexit(clean_up);
}

static void put(const char *name, const uint8_t *data, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && fd_write_full(fd, data, n) >= 0);
	close(fd);
}

/* The file NAME, as jansson understands it; NULL if it does not. */
static json_t *meaning(const char *name)
{
	CLEANUP_BUF struct buf text = BUF_INIT(65536);
	must(fd_read_file(dir, name, &text, NULL) >= 0);
	return json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
}

/* NAME was written from what BEFORE said: it says the same, and the UUID in its one spelling. */
static void same_meaning(const char *name, json_t *before)
{
	CLEANUP_JSON json_t *after = meaning(name);
	must(json_object_set_new(before, "vm", json_string(ID)) == 0);
	must(after && json_equal(before, after));
}

/* RC is one of a reader of a whole file of N bytes. */
static void refused_file(int rc, const struct fault *f, size_t n, size_t max)
{
	refused(rc, f);
	must(rc == ERR_FORMAT || rc == ERR_VERSION || rc == ERR_LIMIT);
	must(n <= max || rc == ERR_LIMIT);
}

/* ---- what the headers and docs/FORMAT.md say ---- */

static int is_version(const json_t *o)
{
	const json_t *v = json_object_get(o, "v");
	return json_is_integer(v) && json_integer_value(v) == 1;
}

static int is_vm(const json_t *o)
{
	const char *id = json_string_value(json_object_get(o, "vm"));
	return id && strcasecmp(id, ID) == 0;
}

static int is_number(const json_t *o, const char *name, json_int_t max)
{
	const json_t *v = json_object_get(o, name);
	return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= max;
}

static int is_short(const json_t *o, const char *name, size_t max)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text && text[0] && strlen(text) <= max;
}

static int note_is_good(const json_t *o)
{
	const char *state = json_string_value(json_object_get(o, "state"));
	return json_object_size(o) == 7 && is_version(o) && is_vm(o) && state &&
	       (strcmp(state, "held") == 0 || strcmp(state, "incoming") == 0) &&
	       is_number(o, "token", INT64_MAX) && is_number(o, "expires", INT64_MAX) &&
	       is_short(o, "guardian", JWK_THUMBPRINT_SIZE - 1) &&
	       is_short(o, "urls", PROTECTOR_URLS_SIZE - 1);
}

static int copy_is_good(const json_t *o)
{
	if (json_object_size(o) != 11 || !is_version(o) || !is_vm(o) ||
	    !is_number(o, "left", PROTECTOR_OFFLINE_MAX) ||
	    !is_number(o, "pcrs", (1 << PCR_COUNT) - 1))
		return 0;
	size_t pcrs = 0;
	for (json_int_t m = json_integer_value(json_object_get(o, "pcrs")); m; m &= m - 1)
		pcrs++;
	return is_b64(o, "protector", SIGN_SHA256_BYTES, SIGN_SHA256_BYTES) &&
	       is_b64(o, "request", KEYRELEASE_REQUEST_BYTES, KEYRELEASE_REQUEST_BYTES) &&
	       is_b64(o, "point", RAWKEY_P256_POINT, RAWKEY_P256_POINT) &&
	       is_b64(o, "key", 0, TPM_PUBLIC_MAX) && is_b64(o, "values", 32 * pcrs, 32 * pcrs) &&
	       is_b64(o, "certificate", 0, HEALTHCERT_MAX) &&
	       is_b64(o, "sealed", COPY_BYTES, COPY_BYTES);
}

static int conf_is_good(const json_t *o)
{
	static const char *const TEXTS[] = { "tcti", "eventlog", "ima" };
	const char *mode = json_string_value(json_object_get(o, "mode"));
	if (json_object_size(o) != 5 || !is_version(o) || !mode ||
	    (strcmp(mode, "tpm") != 0 && strcmp(mode, "hostkey") != 0))
		return 0;
	for (size_t i = 0; i < 3; i++) {
		const char *text = json_string_value(json_object_get(o, TEXTS[i]));
		if (json_is_null(json_object_get(o, TEXTS[i])))
			continue;
		if (!is_short(o, TEXTS[i], CONF_VALUE_MAX) || (i > 0 && text[0] != '/'))
			return 0;
	}
	return 1;
}

/* Three parts of base64url. */
static int ticket_is_good(const uint8_t *text, size_t n)
{
	size_t dots = 0, last = 0;
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '.') {
			if (i == last)
				return 0;
			dots++;
			last = i + 1;
		} else if (b64_value((char)text[i]) < 0) {
			return 0;
		}
	}
	return dots == 2 && last < n && n <= SIGN_TEXT_MAX;
}

/* ---- each of them ---- */

static void one_note(const uint8_t *data, size_t n)
{
	struct lease_note note, was, again;
	struct fault f = { 0 };
	memset(&was, 0x5a, sizeof(was));
	note = was;
	put(NAMES[0], data, n);
	CLEANUP_JSON json_t *o = strictly(data, n);
	int good = n <= LEASE_NOTE_MAX && o && note_is_good(o);
	int rc = lease_note_read(dir, vm, &note, &f);
	must((rc >= 0) == good);
	if (rc < 0) {
		refused_file(rc, &f, n, LEASE_NOTE_MAX);
		must(memcmp(&note, &was, sizeof(note)) == 0);
		return;
	}
	must(!f.text[0] && memcmp(note.vm, vm, sizeof(vm)) == 0);
	/* It never gets longer but for the newline. */
	rc = lease_note_write(dir, &note, &f);
	must(rc >= 0 || (rc == ERR_LIMIT && n == LEASE_NOTE_MAX));
	if (rc < 0)
		return;
	same_meaning(NAMES[0], o);
	must(lease_note_read(dir, vm, &again, &f) >= 0 && memcmp(&note, &again, sizeof(note)) == 0);
	must(lease_note_replace(dir, &note, NULL, &f) >= 0);
	must(lease_note_read(dir, vm, &again, &f) == -ENOENT);
}

static void one_copy(const uint8_t *data, size_t n)
{
	CLEANUP_COPY struct copy c, spent;
	copy_init(&c);
	copy_init(&spent);
	c.left = spent.left = 4711;
	struct fault f = { 0 };
	put(NAMES[1], data, n);
	CLEANUP_JSON json_t *o = strictly(data, n);
	int good = n <= COPY_TEXT_MAX && o && copy_is_good(o);
	int rc = copy_read(dir, vm, &c, &f);
	must((rc >= 0) == good);
	if (rc < 0) {
		refused_file(rc, &f, n, COPY_TEXT_MAX);
		must(c.left == 4711 && c.certificate.len == 0 && c.bound.bk_pub.len == 0);
		return;
	}
	/* It is for no protector that is at hand here, and not a start less for that. */
	must(copy_spend(dir, vm, "x", 1, &spent, &f) == ERR_POLICY && spent.left == 4711);
	CLEANUP_JSON json_t *still = meaning(NAMES[1]);
	must(json_equal(o, still));
	memset(&f, 0, sizeof(f));
	rc = copy_write(dir, &c, &f);
	must(rc >= 0 || (rc == ERR_LIMIT && n == COPY_TEXT_MAX));
	if (rc >= 0)
		same_meaning(NAMES[1], o);
}

static void one_conf(const uint8_t *data, size_t n)
{
	struct conf untouched = { .mode = HEALTHCERT_HOSTKEY, .tcti = "was" };
	struct conf c = untouched;
	struct fault f = { 0 };
	put(NAMES[3], data, n);
	CLEANUP_JSON json_t *o = strictly(data, n), *after = NULL;
	int good = n <= CONF_TEXT_MAX && o && conf_is_good(o);
	int rc = conf_read(conf_path, &c, &f);
	must((rc >= 0) == good);
	if (rc < 0) {
		refused_file(rc, &f, n, CONF_TEXT_MAX);
		must(memcmp(&c, &untouched, sizeof(c)) == 0);
		return;
	}
	rc = conf_write(conf_path, &c, &f);
	must(rc >= 0 || (rc == ERR_LIMIT && n == CONF_TEXT_MAX));
	if (rc >= 0)
		must((after = meaning(NAMES[3])) && json_equal(o, after));
	conf_done(&c);
}

static void one_ticket(const uint8_t *data, size_t n)
{
	struct fault f = { 0 }, g = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX);
	int newline = n > 0 && data[n - 1] == '\n';
	put(NAMES[2], data, n);
	int rc = ticket_read(dir, vm, &text, &f);
	must((rc >= 0) == ticket_is_good(data, n));
	if (rc < 0)
		refused_file(rc, &f, n, SIGN_TEXT_MAX);
	else
		must(text.len == n && memcmp(text.data, data, n) == 0);
	/* What somebody puts there is judged alike, but that a line may end. */
	rc = ticket_put(dir, vm, (const char *)data, n, &g);
	must((rc >= 0) == ticket_is_good(data, n - (size_t)newline));
	if (rc < 0) {
		refused_file(rc, &g, n - (size_t)newline, SIGN_TEXT_MAX);
		return;
	}
	buf_clear(&text);
	must(ticket_read(dir, vm, &text, &g) >= 0 && text.len == n - (size_t)newline &&
	     memcmp(text.data, data, text.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (dir < 0)
		set_up();
	if (size == 0)
		return 0;
	if (data[0] == 'n')
		one_note(data + 1, size - 1);
	else if (data[0] == 'c')
		one_copy(data + 1, size - 1);
	else if (data[0] == 'a')
		one_conf(data + 1, size - 1);
	else if (data[0] == 't')
		one_ticket(data + 1, size - 1);
	return 0;
}
