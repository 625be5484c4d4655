/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/swtpm_state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "worker/swtpm_key.h"

#define PERMANENT_NAME "tpm2-00.permall"
#define VOLATILE_NAME  "tpm2-00.volatilestate"

struct swtpm_state {
	struct seal *seal, *volatile_seal;
	struct store *store, *volatile_store;
};

void swtpm_state_vm(const char *path, uint8_t vm[static UUID_BYTES])
{
	memset(vm, 0, UUID_BYTES);
	while (*path) {
		char text[UUID_TEXT_SIZE] = { 0 };
		size_t n = strcspn(path, "/");
		if (n == sizeof(text) - 1) {
			memcpy(text, path, n);
			int rc = uuid_parse(text, vm);
			(void)rc; /* VM is untouched if it is none */
		}
		path += n + (path[n] == '/');
	}
}

static int open_folder(const char *path, uint8_t vm[static UUID_BYTES], struct fault *f)
{
	char real[PATH_MAX];
	CLEANUP_FD int fd = -1;
	if (realpath(path, real))
		fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fault_set(f, -errno, "the state's folder '%s' cannot be opened: %s", path,
				 err_text(-errno));
	swtpm_state_vm(real, vm);
	return fd_take(&fd);
}

/*
 * The other swtpm's files begin with a version, the oldest version that can read it, and the size
 * of this header, which is 10.  Ours begin with their magic, which cannot be mistaken for it.
 */
static int refuse_other_format(int dir, struct fault *f)
{
	uint8_t head[4];
	struct stat st;
	/* What is no plain file gets its sentence from the store. */
	if (fstatat(dir, PERMANENT_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	CLEANUP_FD int fd = openat(dir, PERMANENT_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || pread(fd, head, sizeof(head), 0) != sizeof(head))
		return 0;
	if (head[0] < 1 || head[0] > 9 || head[1] < 1 || head[1] > 9 || head[2] != 0 ||
	    head[3] != 10)
		return 0;
	return fault_set(
		f, ERR_FORMAT,
		"'%s' was made by swtpm, whose format this program does not read; it is left "
		"as it is: go on with swtpm for this VM, or give an empty folder for a new TPM",
		PERMANENT_NAME);
}

/* The process before this one may be about to end. */
static int lock_folder(int dir, struct fault *f)
{
	int64_t deadline = clock_ms() + SWTPM_LOCK_WAIT_MS;
	while (flock(dir, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || !clock_wait(deadline))
			return fault_set(f, errno == EWOULDBLOCK ? ERR_STATE : -errno,
					 "the state's folder is in use by another process");
	}
	return 0;
}

static int open_store(int dir, const char *name, const struct vm_key *key, enum key_use use,
		      const uint8_t vm[static UUID_BYTES], struct seal **seal, struct store **store,
		      struct fault *f)
{
	CLEANUP_FD int own = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	int rc = own < 0 ? -errno
			 : seal_new(key, use, vm, (const uint8_t *)name, strlen(name), seal);
	if (rc < 0)
		return fault_set(f, rc, "'%s' cannot be opened: %s", name, err_text(rc));
	rc = store_open(own, name, *seal, STORE_MAY_BE_NEW, store, f);
	if (rc >= 0)
		(void)fd_take(&own); /* the store's now */
	return rc;
}

static int open_stores(struct swtpm_state *s, int dir, const struct swtpm_options *o,
		       const uint8_t vm[static UUID_BYTES], struct vm_key *key, struct fault *f)
{
	int rc = swtpm_key_given(&o->key) ? swtpm_key_read("--key", &o->key, vm, key, f)
					  : swtpm_key_public(vm, key);
	if (rc < 0)
		return fault_set(f, rc, "no key can be derived: %s", err_text(rc));
	rc = open_store(dir, PERMANENT_NAME, key, KEY_USE_VTPM_STATE, vm, &s->seal, &s->store, f);
	if (rc == ERR_AUTH)
		return fault_wrap(f, rc,
				  swtpm_key_given(&o->key) ? "perhaps this is not its --key"
							   : "perhaps it was made with a --key");
	if (rc < 0)
		return rc;
	return open_store(dir, VOLATILE_NAME, key, KEY_USE_VTPM_BLOB_VOLATILE, vm,
			  &s->volatile_seal, &s->volatile_store, f);
}

int swtpm_state_open(const struct swtpm_options *o, struct swtpm_state **out, struct vtpm **vtpm,
		     struct fault *f)
{
	CLEANUP_KEY struct vm_key key = { 0 }, blob_key = { 0 };
	uint8_t vm[UUID_BYTES];
	CLEANUP_FD int dir = open_folder(o->state_folder, vm, f);
	if (dir < 0)
		return dir;
	int rc = lock_folder(dir, f);
	if (rc >= 0)
		rc = refuse_other_format(dir, f);
	if (rc < 0)
		return rc;
	struct swtpm_state *s = calloc(1, sizeof(*s));
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	struct vtpm_config config = { .vm = vm };
	rc = open_stores(s, dir, o, vm, &key, f);
	if (rc >= 0 && swtpm_key_given(&o->blob_key)) {
		rc = swtpm_key_read("--migration-key", &o->blob_key, vm, &blob_key, f);
		config.key = &blob_key;
	} else if (swtpm_key_given(&o->key)) {
		config.key = &key;
	}
	config.store = s->store;
	config.volatile_store = s->volatile_store;
	if (rc >= 0)
		rc = vtpm_new(&config, vtpm, f);
	if (rc < 0) {
		swtpm_state_free(s);
		return rc;
	}
	if (!swtpm_key_given(&o->key))
		log_warning("no --key: the state is kept from accidents, and from nobody's eyes");
	*out = s;
	return 0;
}

void swtpm_state_free(struct swtpm_state *s)
{
	if (!s)
		return;
	store_free(s->volatile_store);
	store_free(s->store);
	seal_free(s->volatile_seal);
	seal_free(s->seal);
	free(s);
}

int swtpm_state_print(const struct swtpm_options *o, FILE *out, struct fault *f)
{
	static const struct {
		const char *file, *name;
	} STATES[] = { { PERMANENT_NAME, "permall" }, { VOLATILE_NAME, "volatile" } };
	uint8_t vm[UUID_BYTES];
	const char *comma = "";
	CLEANUP_FD int dir = open_folder(o->state_folder, vm, f);
	if (dir < 0)
		return dir;
	fprintf(out, "{ \"type\": \"swtpm\", \"states\": [");
	for (size_t i = 0; i < sizeof(STATES) / sizeof(STATES[0]); i++) {
		struct stat st;
		if (fstatat(dir, STATES[i].file, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		fprintf(out, "%s {\"name\": \"%s\", \"size\": %lld}", comma, STATES[i].name,
			(long long)st.st_size);
		comma = ",";
	}
	fprintf(out, " ] }\n");
	return 0;
}
