/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/softhsm_bed.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/jwk_form.h"

#include <openssl/pem.h>

#define MODULE "/usr/lib/softhsm/libsofthsm2.so"

static char folder[64], uri[SOFTHSM_URI_MAX];

static void run(const char *line)
{
	fflush(NULL);
	if (system(line) != 0) {
		fprintf(stderr, "softhsm_bed: %s\n", line);
		exit(1);
	}
}

static void write_file(const char *name, const char *text, unsigned mode)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0 || close(fd) < 0)
		exit(1);
}

void softhsm_bed_make(void)
{
	char text[128], conf[96];
	if (access(MODULE, R_OK) < 0) {
		const char *must = getenv("MUST_WORK");
		fprintf(stderr, "SoftHSM is not installed\n");
		exit(must && strcmp(must, "1") == 0 ? 1 : 77);
	}
	snprintf(folder, sizeof(folder), "/tmp/shieldvm-softhsm-XXXXXX");
	if (!mkdtemp(folder))
		exit(1);
	snprintf(text, sizeof(text), "directories.tokendir = %s/tokens\nlog.level = ERROR\n",
		 folder);
	snprintf(conf, sizeof(conf), "%s/softhsm2.conf", folder);
	write_file("softhsm2.conf", text, 0600);
	if (setenv("SOFTHSM2_CONF", conf, 1) < 0)
		exit(1);
	snprintf(conf, sizeof(conf), "%s/tokens", folder);
	if (mkdir(conf, 0700) < 0)
		exit(1);
	run("softhsm2-util --init-token --free --label test --pin 1234 --so-pin 5678 >/dev/null");
}

void softhsm_bed_remove(void)
{
	char line[96];
	snprintf(line, sizeof(line), "rm -rf %s", folder);
	run(line);
}

void softhsm_bed_away(int away)
{
	char here[96], gone[96];
	snprintf(here, sizeof(here), "%s/tokens", folder);
	snprintf(gone, sizeof(gone), "%s/gone", folder);
	if (away ? rename(here, gone) < 0 || mkdir(here, 0700) < 0
		 : rmdir(here) < 0 || rename(gone, here) < 0)
		exit(1);
}

const char *softhsm_bed_uri(const char *object, const char *pin, unsigned mode)
{
	write_file("pin", pin, mode);
	snprintf(uri, sizeof(uri),
		 "pkcs11:token=test;object=%s?module-path=" MODULE "&pin-source=file:%s/pin",
		 object, folder);
	return uri;
}

void softhsm_bed_import(const struct jwk *key, const char *object, const char *id)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/key.pem", folder);
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = jwk_to_pkey(key, 1);
	FILE *out = fopen(path, "w");
	if (!out || PEM_write_PKCS8PrivateKey(out, pkey, NULL, NULL, 0, NULL, NULL) != 1 ||
	    fclose(out) != 0)
		exit(1);
	static const char *const HALVES[] = { "privkey --usage-derive", "pubkey" };
	char line[512];
	snprintf(line, sizeof(line), "openssl pkey -in %s -pubout -out %s.pub", path, path);
	run(line);
	for (int i = 0; i < 2; i++) {
		snprintf(line, sizeof(line),
			 "pkcs11-tool --module " MODULE " --login --pin 1234 --token-label test "
			 "--write-object %s%s --type %s --label %s --id %s >/dev/null",
			 path, i ? ".pub" : "", HALVES[i], object, id);
		run(line);
	}
}
