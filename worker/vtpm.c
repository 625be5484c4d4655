/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/vtpm.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_tis.h>

#include "base/fd.h"
#include "worker/nvram.h"
#include "worker/trim.h"

#define TAG_NO_SESSIONS 0x8001
#define TAG_RESPONSE	0x00c4 /* what answers a bad tag */
#define CC_SHUTDOWN	0x145

struct vtpm {
	pthread_mutex_t lock;
	struct nvram nvram;
	struct blob_keys *blobs;

	atomic_int running;
	atomic_uint locality;
	/* A command is in vtpm_command(), and its cancelling was asked for. */
	atomic_int busy, cancel;

	int keep_memory;
	uint64_t counts_as,
		oldest,	       /* versions: of what is here, at least; of blobs that are taken */
		ticket;	       /* and this one of them all the same, unless it is 0 */
	int no_rewind, served; /* served: a command was run, not counting provisioning, or
				  vtpm_keep() said that none may come before it */
	int awaiting, given;   /* vtpm_await(); the permanent state has come since */
	int moved;	       /* vtpm_set_moved() */
	int paused;	       /* vtpm_pause() */
	int orderly;	       /* TPM2_Shutdown would have nothing to say */
	int log_sink;	       /* where libtpms' messages go */

	/* Of the size that libtpms wants, so that it never reallocates it. */
	unsigned char *reply;
	uint32_t reply_size;
};

static int have_one; /* libtpms' state is the process's */

/* ---- life ---- */

/*
 * libtpms writes the command on which it fails to stderr, with the guest's passwords in it.  It can
 * be told another descriptor but not none, so it gets one that cannot be written.
 */
static int silence(struct vtpm *t)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	close(ends[1]);
	t->log_sink = ends[0];
	TPMLIB_SetDebugFD(t->log_sink);
	return 0;
}

int vtpm_new(const struct vtpm_config *config, struct vtpm **out, struct fault *f)
{
	int rc = 0;

	if (have_one)
		return fault_set(f, ERR_STATE, "this process has a vTPM already");
	struct vtpm *t = calloc(1, sizeof(*t));
	if (!t)
		return fault_set(f, -ENOMEM, "no memory for the vTPM");
	pthread_mutex_init(&t->lock, NULL);
	t->nvram.permanent_store = config->store;
	t->nvram.volatile_store = config->volatile_store;
	t->no_rewind = config->no_rewind;
	t->keep_memory = config->keep_memory;
	t->counts_as = config->spent;
	t->oldest = config->oldest;
	t->ticket = config->ticket;
	store_raise(config->store, config->spent);
	t->orderly = 1;
	t->log_sink = -1;
	t->reply_size = VTPM_BUFFER_MAX;
	t->reply = malloc(t->reply_size);
	if (!t->reply)
		rc = -ENOMEM;
	if (rc == 0 && config->key)
		rc = blob_keys_new(config->key, config->vm, config->tpm_id, config->tpm_id_bytes,
				   &t->blobs);
	if (rc == 0)
		rc = nvram_register(&t->nvram, &t->locality);
	TPMLIB_SetBufferSize(VTPM_BUFFER_MAX, NULL, NULL);
	if (rc == 0)
		rc = silence(t);
	have_one = 1;
	if (rc < 0) {
		vtpm_free(t);
		return fault_set(f, rc, "the vTPM cannot be set up: %s", err_text(rc));
	}
	*out = t;
	return 0;
}

void vtpm_free(struct vtpm *t)
{
	if (!t)
		return;
	vtpm_stop(t);
	blob_keys_free(t->blobs);
	nvram_done(&t->nvram);
	fd_close(&t->log_sink);
	wipe_free(t->reply, t->reply_size);
	pthread_mutex_destroy(&t->lock);
	have_one = 0;
	free(t);
}

/* Run a command under the lock; the reply is in t->reply.  Returns its length. */
static size_t process(struct vtpm *t, const uint8_t *cmd, size_t n)
{
	uint32_t used = 0;
	/* libtpms takes the command as writable but leaves it alone. */
	TPM_RESULT res =
		TPMLIB_Process(&t->reply, &used, &t->reply_size, (unsigned char *)cmd, (uint32_t)n);
	if (res != TPM_SUCCESS || used < VTPM_HEADER_BYTES || used > VTPM_BUFFER_MAX) {
		vtpm_error_reply(VTPM_RC_FAILURE, t->reply);
		used = VTPM_HEADER_BYTES;
	}
	return used;
}

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static void stop_locked(struct vtpm *t)
{
	static const uint8_t shutdown[2][12] = {
		{ 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 1 }, /* TPM_SU_STATE */
		{ 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0 }, /* TPM_SU_CLEAR */
	};
	if (!atomic_load(&t->running))
		return;
	t->nvram.ending = 1;
	for (size_t i = 0; i < 2 && !t->orderly && !t->nvram.failed; i++) {
		process(t, shutdown[i], sizeof(shutdown[i]));
		t->orderly = be32(t->reply + 6) == 0;
	}
	t->nvram.ending = 0;
	TPMLIB_Terminate();
	atomic_store(&t->running, 0);
}

void vtpm_stop(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	stop_locked(t);
	pthread_mutex_unlock(&t->lock);
}

static int init_locked(struct vtpm *t, struct fault *f)
{
	struct nvram *n = &t->nvram;
	int held_before = n->holding;

	stop_locked(t);
	/* Whatever libtpms stores while it starts (manufacturing does, many times) is stored once,
	 * and only if the start succeeds. */
	nvram_begin(n);
	TPM_RESULT res = TPMLIB_MainInit();
	int rc = 0;
	if (res != TPM_SUCCESS || n->failed)
		rc = fault_set(f, -EIO, "the vTPM does not start from its state (libtpms: 0x%x)",
			       res);
	if (rc == 0 && !held_before)
		rc = nvram_commit(n, f);
	if (rc >= 0)
		rc = nvram_consume_volatile(n, f);
	if (rc < 0) {
		/* Without a Shutdown, which would store what must not be stored. */
		TPMLIB_Terminate();
		nvram_drop(n);
		held_forget(&n->volatile_now);
		n->holding = held_before;
		t->given = 0;
		return rc;
	}
	/* Resumed from volatile state, the guest's Startup is in the past. */
	t->orderly = !n->resumed;
	atomic_store(&t->running, 1);
	return 0;
}

int vtpm_init(struct vtpm *t, struct fault *f)
{
	pthread_mutex_lock(&t->lock);
	int rc = init_locked(t, f);
	pthread_mutex_unlock(&t->lock);
	if (rc >= 0 && !t->keep_memory)
		trim();
	return rc;
}

void vtpm_hold(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	t->nvram.holding = 1;
	pthread_mutex_unlock(&t->lock);
}

int vtpm_commit(struct vtpm *t, int mark_first, struct fault *f)
{
	pthread_mutex_lock(&t->lock);
	int rc = 0;
	if (mark_first)
		store_mark_first(t->nvram.permanent_store);
	if (t->awaiting && !t->given)
		rc = fault_set(f, ERR_STATE, "the vTPM's state has not come in");
	if (rc >= 0)
		rc = nvram_commit(&t->nvram, f);
	t->awaiting = t->awaiting && rc < 0;
	pthread_mutex_unlock(&t->lock);
	return rc;
}

void vtpm_forget(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	nvram_drop(&t->nvram);
	pthread_mutex_unlock(&t->lock);
}

void vtpm_await(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	t->awaiting = t->nvram.holding = 1;
	t->given = 0;
	pthread_mutex_unlock(&t->lock);
}

int vtpm_is_ready(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	int ready = atomic_load(&t->running) && (!t->awaiting || t->given);
	pthread_mutex_unlock(&t->lock);
	return ready;
}

int vtpm_set_moved(struct vtpm *t, int moved, struct fault *f)
{
	pthread_mutex_lock(&t->lock);
	int was_moved = t->moved;
	int rc = store_set_moved(t->nvram.permanent_store, moved, f);
	if (rc >= 0)
		t->moved = moved;
	if (rc >= 0 && moved)
		t->nvram.holding = 1;
	if (rc >= 0 && !moved && was_moved)
		rc = nvram_commit(&t->nvram, f);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

void vtpm_pause(struct vtpm *t, int pause)
{
	pthread_mutex_lock(&t->lock);
	t->paused = pause;
	pthread_mutex_unlock(&t->lock);
}

void vtpm_keep(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	t->served = 1;
	pthread_mutex_unlock(&t->lock);
}

int vtpm_running(const struct vtpm *t)
{
	return atomic_load(&t->running);
}

int vtpm_was_made(const struct vtpm *t)
{
	return t->nvram.made;
}

/* ---- commands ---- */

void vtpm_error_reply(uint32_t rc, uint8_t reply[static VTPM_HEADER_BYTES])
{
	uint16_t tag = htobe16(rc == VTPM_RC_BAD_TAG ? TAG_RESPONSE : TAG_NO_SESSIONS);
	uint32_t size = htobe32(VTPM_HEADER_BYTES), code = htobe32(rc);
	memcpy(reply, &tag, 2);
	memcpy(reply + 2, &size, 4);
	memcpy(reply + 6, &code, 4);
}

void vtpm_command(struct vtpm *t, const uint8_t *cmd, size_t n,
		  uint8_t reply[static VTPM_BUFFER_MAX], size_t *reply_n)
{
	uint32_t refused = 0;

	atomic_store(&t->cancel, 0);
	atomic_store(&t->busy, 1);
	pthread_mutex_lock(&t->lock);
	if (!atomic_load(&t->running) || t->awaiting)
		refused = VTPM_RC_FAILURE;
	else if (t->moved ||
		 t->paused) /* QEMU may let the guest run here again before we hear of it */
		refused = VTPM_RC_RETRY;
	else if (n < VTPM_HEADER_BYTES || n > VTPM_BUFFER_MAX)
		refused = VTPM_RC_COMMAND_SIZE;
	else if (atomic_load(&t->cancel))
		refused = VTPM_RC_CANCELED;
	if (refused) {
		vtpm_error_reply(refused, reply);
		*reply_n = VTPM_HEADER_BYTES;
	} else {
		t->served |= !t->nvram.holding;
		*reply_n = process(t, cmd, n);
		memcpy(reply, t->reply, *reply_n);
		t->orderly = be32(cmd + 6) == CC_SHUTDOWN && be32(reply + 6) == 0;
	}
	pthread_mutex_unlock(&t->lock);
	atomic_store(&t->busy, 0);
}

void vtpm_cancel(struct vtpm *t)
{
	if (!atomic_load(&t->busy))
		return;
	atomic_store(&t->cancel, 1);
	TPMLIB_CancelCommand();
}

int vtpm_set_locality(struct vtpm *t, unsigned int locality)
{
	if (locality > VTPM_LOCALITY_MAX)
		return ERR_LIMIT;
	atomic_store(&t->locality, locality);
	return 0;
}

/* ---- what the TIS does beside commands ---- */

/* Lock, and say whether the vTPM runs; unlocked again if it does not. */
static int lock_running(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	if (atomic_load(&t->running))
		return 0;
	pthread_mutex_unlock(&t->lock);
	return ERR_STATE;
}

static int unlock_result(struct vtpm *t, TPM_RESULT res)
{
	pthread_mutex_unlock(&t->lock);
	if (res == TPM_BAD_LOCALITY)
		return ERR_LIMIT;
	return res == TPM_SUCCESS ? 0 : -EIO;
}

int vtpm_get_established(struct vtpm *t, int *bit)
{
	TPM_BOOL b = 0;
	int rc = lock_running(t);
	if (rc < 0)
		return rc;
	rc = unlock_result(t, TPM_IO_TpmEstablished_Get(&b));
	if (rc == 0)
		*bit = b != 0;
	return rc;
}

int vtpm_reset_established(struct vtpm *t, unsigned int locality)
{
	if (locality > VTPM_LOCALITY_MAX)
		return ERR_LIMIT;
	int rc = lock_running(t);
	if (rc < 0)
		return rc;
	unsigned int before = atomic_exchange(&t->locality, locality);
	TPM_RESULT res = TPM_IO_TpmEstablished_Reset();
	atomic_store(&t->locality, before);
	return unlock_result(t, res);
}

int vtpm_hash_start(struct vtpm *t)
{
	int rc = lock_running(t);
	return rc < 0 ? rc : unlock_result(t, TPM_IO_Hash_Start());
}

int vtpm_hash_data(struct vtpm *t, const uint8_t *data, size_t n)
{
	int rc = lock_running(t);
	return rc < 0 ? rc : unlock_result(t, TPM_IO_Hash_Data(data, (uint32_t)n));
}

int vtpm_hash_end(struct vtpm *t)
{
	int rc = lock_running(t);
	return rc < 0 ? rc : unlock_result(t, TPM_IO_Hash_End());
}

int vtpm_set_buffer_size(struct vtpm *t, uint32_t wanted, uint32_t *size, uint32_t *min,
			 uint32_t *max)
{
	int rc = 0;
	pthread_mutex_lock(&t->lock);
	if (wanted && atomic_load(&t->running))
		rc = ERR_STATE;
	else
		*size = TPMLIB_SetBufferSize(wanted, min, max);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

int vtpm_info(struct vtpm *t, uint64_t flags, struct buf *out)
{
	pthread_mutex_lock(&t->lock);
	CLEANUP_FREE char *info = TPMLIB_GetInfo((enum TPMLIB_InfoFlags)flags);
	pthread_mutex_unlock(&t->lock);
	return info ? buf_add(out, info, strlen(info) + 1) : -ENOMEM;
}

/* ---- state blobs ---- */

int vtpm_has_blob_key(const struct vtpm *t)
{
	return t->blobs != NULL;
}

/* Copy the running vTPM's state into OUT, which is wiped with its owner. */
static int copy_state(enum TPMLIB_StateType type, struct buf *out)
{
	unsigned char *state = NULL;
	uint32_t n = 0;
	TPM_RESULT res = TPMLIB_GetState(type, &state, &n);
	int rc = res == TPM_SUCCESS && state ? buf_add(out, state, n) : -EIO;
	wipe_free(state, n);
	return rc;
}

/* Of the running vTPM's permanent state. */
static uint64_t version(const struct vtpm *t)
{
	uint64_t stored = store_version(t->nvram.permanent_store);
	return stored < t->counts_as ? t->counts_as : stored;
}

int vtpm_get_blob(struct vtpm *t, uint32_t type, struct buf *out)
{
	CLEANUP_BUF struct buf state =
		BUF_INIT(VTPM_BLOB_MAX - SEAL_OVERHEAD_BYTES - BLOB_VERSION_BYTES);
	if (type < VTPM_BLOB_PERMANENT || type > VTPM_BLOB_SAVESTATE)
		return ERR_FORMAT;
	int rc = lock_running(t);
	if (rc < 0)
		return rc;
	if (type == VTPM_BLOB_SAVESTATE)
		rc = -ENOENT;
	else if (t->nvram.failed)
		rc = -EIO;
	else
		rc = copy_state(type == VTPM_BLOB_PERMANENT ? TPMLIB_STATE_PERMANENT
							    : TPMLIB_STATE_VOLATILE,
				&state);
	if (rc >= 0)
		rc = blob_seal(t->blobs, (enum vtpm_blob)type, version(t), state.data, state.len,
			       out);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* Under the lock, with a known TYPE: what may be kept, or why not. */
static int open_blob(struct vtpm *t, enum vtpm_blob type, int sealed, const uint8_t *data, size_t n,
		     struct buf *state, struct fault *f)
{
	if (n == 0)
		return 0;
	if (n > VTPM_BLOB_MAX)
		return fault_set(f, ERR_LIMIT, "longer than %d bytes", VTPM_BLOB_MAX);
	if (sealed && !t->blobs)
		return fault_set(f, ERR_RECIPIENT, "sealed, but this vTPM has no key for it");
	uint64_t of;
	int rc = blob_open(t->blobs, type, data, n, &of, state, f);
	if (rc >= 0 && type == VTPM_BLOB_SAVESTATE && state->len)
		return fault_set(f, ERR_FORMAT, "a TPM 2.0 has no such state");
	if (rc < 0 || type != VTPM_BLOB_PERMANENT)
		return rc;
	if (of < t->oldest && (t->ticket == 0 || of != t->ticket))
		return fault_set(f, ERR_POLICY,
				 "vtpm.older: the vTPM's state in it is of version %llu, and the "
				 "guardian's lease is for version %llu or later: it takes its "
				 "owner's ticket (shieldvm key ticket --restore)",
				 (unsigned long long)of, (unsigned long long)t->oldest);
	if (t->counts_as < of)
		t->counts_as = of;
	store_raise(t->nvram.permanent_store, of);
	return 0;
}

int vtpm_set_blob(struct vtpm *t, uint32_t type, int sealed, const uint8_t *data, size_t n,
		  struct fault *f)
{
	CLEANUP_BUF struct buf state = BUF_INIT(VTPM_BLOB_MAX);
	if (type < VTPM_BLOB_PERMANENT || type > VTPM_BLOB_SAVESTATE)
		return fault_set(f, ERR_FORMAT, "state blob of unknown type %u", type);

	pthread_mutex_lock(&t->lock);
	int rc;
	if (atomic_load(&t->running))
		rc = fault_set(f, ERR_STATE, "the vTPM is running");
	else if (t->no_rewind && t->served)
		rc = fault_set(f, ERR_STATE,
			       "the vTPM has served its guest already and takes no other state");
	else
		rc = open_blob(t, (enum vtpm_blob)type, sealed, data, n, &state, f);
	if (rc != ERR_STATE && type == VTPM_BLOB_PERMANENT) {
		held_forget(&t->nvram.permanent);
		/* An empty blob leaves the stored state in force: no peer may have the vTPM made
		 * anew. */
		if (rc >= 0 && state.len)
			rc = held_set(&t->nvram.permanent, state.data, state.len);
		t->given = t->nvram.dirty = t->nvram.permanent.set;
	} else if (rc != ERR_STATE && type == VTPM_BLOB_VOLATILE) {
		held_forget(&t->nvram.volatile_now);
		if (rc >= 0)
			rc = held_set(&t->nvram.volatile_now, state.data, state.len);
	}
	pthread_mutex_unlock(&t->lock);
	if (rc < 0)
		fault_wrap(f, rc, "state blob %u", type);
	return rc;
}

int vtpm_store_volatile(struct vtpm *t, struct fault *f)
{
	CLEANUP_BUF struct buf state = BUF_INIT(VTPM_BLOB_MAX);
	int rc = lock_running(t);
	if (rc < 0)
		return fault_set(f, rc, "the vTPM is not running");
	rc = copy_state(TPMLIB_STATE_VOLATILE, &state);
	if (rc >= 0 && t->nvram.volatile_store)
		rc = store_save(t->nvram.volatile_store, state.data, state.len, f);
	else if (rc >= 0)
		rc = held_set(&t->nvram.volatile_now, state.data, state.len);
	pthread_mutex_unlock(&t->lock);
	return rc;
}
