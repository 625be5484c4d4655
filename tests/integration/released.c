/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests/integration/guardian.py needs of an owner and of a worker: a protector that names the
 * guardian, and a look into what it released.  Files are in the current folder.
 *
 * released make VM GUARDIAN.PUB OFFLINE   writes protector, vm.key, worker.jwk and worker.jwk.pub;
 *                                         a host without a TPM may have the key
 * released open VM REQUEST HOST.JWK       0 if files key and copy (an empty one: there must be
 * none), released for the files certificate and protector, hold what is in vm.key for worker.jwk;
 * prints the lease's token
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "crypto/init.h"
#include "crypto/jwk_form.h"
#include "crypto/keyrelease.h"

#define URL "https://127.0.0.1:8787#bkgHgBeI1XZHoEIQYDnPz5uK7NqLzKz5uCwv7p8h3gU"

static struct fault f;

static void must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "%s: %s %s\n", what, err_text(rc), f.text);
	exit(1);
}
#define MUST(call) must(call, #call)

static void read_all(const char *name, struct buf *out)
{
	*out = BUF_INIT(1 << 20);
	MUST(fd_read_file(AT_FDCWD, name, out, &f));
}

static void make(const uint8_t vm[static UUID_BYTES], const char *guardian, const char *offline)
{
	struct protector_facts facts = { .level = LEVEL_SHIELDED,
					 .tpm_id = { 3 },
					 .least = HEALTHCERT_HOSTKEY,
					 .offline = (uint32_t)strtoul(offline, NULL, 10),
					 .edition = 1 };
	CLEANUP_JWK struct jwk *owner = NULL, *worker = NULL, *its = NULL;
	CLEANUP_KEY struct vm_key key = { { 0 } };
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	MUST(jwk_read_file(guardian, 0, &its, &f));
	MUST(jwk_new(&owner, &f));
	MUST(jwk_new(&worker, &f));
	MUST(key_new(&key));
	const struct protector_guards guards = { .n = 1, .keys = { its }, .urls = { URL } };
	memcpy(facts.vm, vm, UUID_BYTES);
	MUST(protector_make(&facts, &key, owner, NULL, 0, &guards, &text, &f));
	MUST(fd_write_file(AT_FDCWD, "protector", text.data, text.len, 0600, 1, &f));
	MUST(fd_write_file(AT_FDCWD, "vm.key", key.bytes, KEY_BYTES, 0600, 1, &f));
	MUST(jwk_write_pair(worker, "worker.jwk", &f));
}

static void agree(const char *name, struct jwk **key, struct ecdh *ecdh,
		  uint8_t point[static RAWKEY_P256_POINT])
{
	MUST(jwk_read_file(name, 1, key, &f));
	MUST(ecdh_from_jwk(*key, ecdh));
	point[0] = 4;
	memcpy(point + 1, jwk_x(*key), 32);
	memcpy(point + 33, jwk_y(*key), 32);
}

static void open_them(const uint8_t vm[static UUID_BYTES], const char *request, const char *host)
{
	CLEANUP_JWK struct jwk *host_key = NULL, *worker_key = NULL;
	struct ecdh host_ecdh, worker_ecdh;
	uint8_t host_point[RAWKEY_P256_POINT], worker_point[RAWKEY_P256_POINT];
	struct keyrelease got, kept;
	struct vm_key opened;
	CLEANUP_PROTECTOR struct protector *p = NULL;
	struct keyrelease_about about;
	CLEANUP_BUF struct buf certificate, protector, key, copy, want;
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	read_all("certificate", &certificate);
	read_all("protector", &protector);
	read_all("key", &key);
	read_all("copy", &copy);
	read_all("vm.key", &want);
	agree(host, &host_key, &host_ecdh, host_point);
	agree("worker.jwk", &worker_key, &worker_ecdh, worker_point);
	about = (struct keyrelease_about){
		certificate.data, certificate.len,  (const char *)protector.data,
		protector.len,	  .request = { 0 }, .restore = 0
	};
	memcpy(about.vm, vm, UUID_BYTES);
	MUST(strict_b64(request, strlen(request), about.request, sizeof(about.request)));
	MUST(keyrelease_unwrap(&host_ecdh, host_point, &about, key.data, key.len, &inner, &f));
	MUST(keyrelease_open(&worker_ecdh, worker_point, &about, inner.data, inner.len, &got, &f));
	MUST(protector_parse((const char *)protector.data, protector.len, &p, &f));
	MUST(protector_open(p, &got.key, &opened, &f));
	MUST(memcmp(opened.bytes, want.data, KEY_BYTES) == 0 ? 0 : ERR_AUTH);
	printf("%" PRId64 "\n", got.token);
	if (copy.len == 0)
		return;
	MUST(keyrelease_open_copy(&host_ecdh, host_point, &about, copy.data, copy.len, &kept, &f));
	MUST(memcmp(kept.key.bytes, got.key.bytes, KEY_BYTES) == 0 ? 0 : ERR_AUTH);
	MUST(kept.token == got.token ? 0 : ERR_AUTH);
}

int main(int argc, char **argv)
{
	uint8_t vm[UUID_BYTES];
	MUST(crypto_init());
	MUST(argc == 5 ? uuid_parse(argv[2], vm) : ERR_USAGE);
	if (strcmp(argv[1], "make") == 0)
		make(vm, argv[3], argv[4]);
	else
		open_them(vm, argv[3], argv[4]);
	return 0;
}
