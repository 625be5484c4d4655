/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/vtpm.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>
#include <libtpms/tpm_tis.h>

#include "base/log.h"

#define TAG_NO_SESSIONS 0x8001
#define TAG_RESPONSE	0x00c4 /* what answers a bad tag */
#define CC_SHUTDOWN	0x145

/* A state that is held in memory and stands before the one in the store. */
struct held {
	int set; /* LEN 0 then means: there is none, whatever the store has */
	struct buf state;
};

struct vtpm {
	pthread_mutex_t lock;
	struct store *store, *volatile_store;
	struct blob_keys *blobs;

	atomic_int running;
	atomic_uint locality;
	/* A command is in vtpm_command(), and its cancelling was asked for. */
	atomic_int busy, cancel;

	int holding;		  /* stores go to `permanent` instead of the store */
	int dirty;		  /* `permanent` is to be stored */
	int failed;		  /* a store failed: what is in memory is not what is on disk */
	int made;		  /* the permanent state was found absent */
	int orderly;		  /* nothing to be said by TPM2_Shutdown */
	struct held permanent;	  /* set by SET_STATEBLOB, or what is held back */
	struct held volatile_now; /* set by SET_STATEBLOB or STORE_VOLATILE */

	/* Of the size that libtpms wants, so that it never reallocates it. */
	unsigned char *reply;
	uint32_t reply_size;
};

/* libtpms' callbacks have no context argument. */
static struct vtpm *the_vtpm;

static void held_forget(struct held *h)
{
	buf_clear(&h->state);
	h->set = 0;
}

static int held_set(struct held *h, const uint8_t *data, size_t n)
{
	held_forget(h);
	int rc = buf_add(&h->state, data, n);
	if (rc == 0)
		h->set = 1;
	return rc;
}

/* ---- what libtpms calls, always under the lock ---- */

static TPM_RESULT nvram_init(void)
{
	return TPM_SUCCESS;
}

/* Give libtpms a copy that it frees. */
static TPM_RESULT give(const struct buf *b, unsigned char **data, uint32_t *length)
{
	unsigned char *copy = malloc(b->len);
	if (!copy)
		return TPM_SIZE;
	memcpy(copy, b->data, b->len);
	*data = copy;
	*length = (uint32_t)b->len;
	return TPM_SUCCESS;
}

static TPM_RESULT load_from(struct store *s, unsigned char **data, uint32_t *length)
{
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	struct fault f = { 0 };
	int rc = store_load(s, &b, &f);
	/* TPM_RETRY is "absent", which makes libtpms manufacture; nothing else may say it. */
	if (rc == -ENOENT || (rc >= 0 && b.len == 0))
		return TPM_RETRY;
	if (rc < 0) {
		log_error("vTPM state: %s", f.text[0] ? f.text : err_text(rc));
		return TPM_FAIL;
	}
	return give(&b, data, length);
}

static TPM_RESULT nvram_loaddata(unsigned char **data, uint32_t *length, uint32_t tpm_number,
				 const char *name)
{
	struct vtpm *t = the_vtpm;
	struct held *h;
	struct store *s;
	TPM_RESULT res;
	(void)tpm_number;

	if (strcmp(name, TPM_PERMANENT_ALL_NAME) == 0) {
		h = &t->permanent;
		s = t->store;
	} else if (strcmp(name, TPM_VOLATILESTATE_NAME) == 0) {
		h = &t->volatile_now;
		s = t->volatile_store;
	} else {
		return TPM_RETRY;
	}
	if (h->set)
		res = h->state.len ? give(&h->state, data, length) : TPM_RETRY;
	else
		res = s ? load_from(s, data, length) : TPM_RETRY;

	if (h == &t->permanent && res == TPM_RETRY)
		t->made = 1;
	/* Resumed from volatile state: the guest's Startup is in the past. */
	if (h == &t->volatile_now && res == TPM_SUCCESS)
		t->orderly = 0;
	return res;
}

static TPM_RESULT nvram_storedata(const unsigned char *data, uint32_t length, uint32_t tpm_number,
				  const char *name)
{
	struct vtpm *t = the_vtpm;
	struct fault f = { 0 };
	(void)tpm_number;

	if (strcmp(name, TPM_PERMANENT_ALL_NAME) != 0)
		return TPM_FAIL;
	if (t->holding) {
		t->dirty = 1;
		return held_set(&t->permanent, data, length) < 0 ? TPM_SIZE : TPM_SUCCESS;
	}
	int rc = store_save(t->store, data, length, &f);
	if (rc < 0) {
		log_error("vTPM state not stored: %s", f.text[0] ? f.text : err_text(rc));
		t->failed = 1;
		return TPM_FAIL;
	}
	return TPM_SUCCESS;
}

static TPM_RESULT nvram_deletename(uint32_t tpm_number, const char *name, TPM_BOOL must_exist)
{
	(void)tpm_number;
	(void)name;
	(void)must_exist;
	return TPM_SUCCESS;
}

static TPM_RESULT io_init(void)
{
	return TPM_SUCCESS;
}

static TPM_RESULT io_getlocality(TPM_MODIFIER_INDICATOR *locality, uint32_t tpm_number)
{
	(void)tpm_number;
	*locality = atomic_load(&the_vtpm->locality);
	return TPM_SUCCESS;
}

static TPM_RESULT io_getphysicalpresence(TPM_BOOL *present, uint32_t tpm_number)
{
	(void)tpm_number;
	*present = FALSE;
	return TPM_SUCCESS;
}

/* ---- life ---- */

int vtpm_new(const struct vtpm_config *config, struct vtpm **out, struct fault *f)
{
	static struct libtpms_callbacks callbacks = {
		.sizeOfStruct = sizeof(callbacks),
		.tpm_nvram_init = nvram_init,
		.tpm_nvram_loaddata = nvram_loaddata,
		.tpm_nvram_storedata = nvram_storedata,
		.tpm_nvram_deletename = nvram_deletename,
		.tpm_io_init = io_init,
		.tpm_io_getlocality = io_getlocality,
		.tpm_io_getphysicalpresence = io_getphysicalpresence,
	};
	int rc = 0;

	if (the_vtpm)
		return fault_set(f, ERR_STATE, "this process has a vTPM already");
	struct vtpm *t = calloc(1, sizeof(*t));
	if (!t)
		return fault_set(f, -ENOMEM, "no memory for the vTPM");
	pthread_mutex_init(&t->lock, NULL);
	t->store = config->store;
	t->volatile_store = config->volatile_store;
	t->permanent.state = BUF_INIT(SEAL_PLAINTEXT_MAX);
	t->volatile_now.state = BUF_INIT(SEAL_PLAINTEXT_MAX);
	t->orderly = 1;
	t->reply_size = VTPM_BUFFER_MAX;
	t->reply = malloc(t->reply_size);
	if (!t->reply)
		rc = -ENOMEM;
	if (rc == 0 && config->key)
		rc = blob_keys_new(config->key, config->vm, &t->blobs);
	if (rc == 0 && (TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) != TPM_SUCCESS ||
			TPMLIB_RegisterCallbacks(&callbacks) != TPM_SUCCESS))
		rc = ERR_STATE;
	TPMLIB_SetBufferSize(VTPM_BUFFER_MAX, NULL, NULL);
	the_vtpm = t;
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
	buf_done(&t->permanent.state);
	buf_done(&t->volatile_now.state);
	wipe_free(t->reply, t->reply_size);
	pthread_mutex_destroy(&t->lock);
	the_vtpm = NULL;
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
	for (size_t i = 0; i < 2 && !t->orderly && !t->failed; i++) {
		process(t, shutdown[i], sizeof(shutdown[i]));
		t->orderly = be32(t->reply + 6) == 0;
	}
	TPMLIB_Terminate();
	atomic_store(&t->running, 0);
}

void vtpm_stop(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	stop_locked(t);
	pthread_mutex_unlock(&t->lock);
}

/* Store what was held back. */
static int commit_locked(struct vtpm *t, struct fault *f)
{
	t->holding = 0;
	int rc = 0;
	if (t->permanent.set && t->dirty)
		rc = store_save(t->store, t->permanent.state.data, t->permanent.state.len, f);
	t->dirty = 0;
	held_forget(&t->permanent);
	return rc;
}

/* What a resume has used must not be there for another. */
static int consume_volatile(struct vtpm *t, struct fault *f)
{
	held_forget(&t->volatile_now);
	if (!t->volatile_store || !store_exists(t->volatile_store))
		return 0;
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	int rc = store_load(t->volatile_store, &b, f);
	if (rc >= 0 && b.len)
		rc = store_save(t->volatile_store, NULL, 0, f);
	return rc;
}

static int init_locked(struct vtpm *t, struct fault *f)
{
	int held_before = t->holding;

	stop_locked(t);
	/* Whatever libtpms stores while it starts (manufacturing does, many times) is stored once,
	 * and only if the start succeeds. */
	t->holding = 1;
	t->failed = 0;
	t->made = 0;
	t->orderly = 1;
	TPM_RESULT res = TPMLIB_MainInit();
	if (res != TPM_SUCCESS) {
		TPMLIB_Terminate();
		t->holding = held_before;
		t->dirty = 0;
		held_forget(&t->permanent);
		held_forget(&t->volatile_now);
		return fault_set(f, -EIO, "the vTPM does not start from its state (libtpms: 0x%x)",
				 res);
	}
	atomic_store(&t->running, 1);
	int rc = held_before ? 0 : commit_locked(t, f);
	if (rc >= 0)
		rc = consume_volatile(t, f);
	if (rc < 0) {
		/* Not orderly: a Shutdown would store what must not be stored. */
		TPMLIB_Terminate();
		atomic_store(&t->running, 0);
		held_forget(&t->volatile_now);
	}
	return rc;
}

int vtpm_init(struct vtpm *t, struct fault *f)
{
	pthread_mutex_lock(&t->lock);
	int rc = init_locked(t, f);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

void vtpm_hold(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	t->holding = 1;
	pthread_mutex_unlock(&t->lock);
}

int vtpm_commit(struct vtpm *t, struct fault *f)
{
	pthread_mutex_lock(&t->lock);
	int rc = commit_locked(t, f);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

void vtpm_forget(struct vtpm *t)
{
	pthread_mutex_lock(&t->lock);
	t->holding = 0;
	t->dirty = 0;
	held_forget(&t->permanent);
	pthread_mutex_unlock(&t->lock);
}

int vtpm_running(const struct vtpm *t)
{
	return atomic_load(&t->running);
}

int vtpm_was_made(const struct vtpm *t)
{
	return t->made;
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
	if (!atomic_load(&t->running))
		refused = VTPM_RC_FAILURE;
	else if (n < VTPM_HEADER_BYTES || n > VTPM_BUFFER_MAX)
		refused = VTPM_RC_COMMAND_SIZE;
	else if (atomic_load(&t->cancel))
		refused = VTPM_RC_CANCELED;
	if (refused) {
		vtpm_error_reply(refused, reply);
		*reply_n = VTPM_HEADER_BYTES;
	} else {
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

int vtpm_get_blob(struct vtpm *t, uint32_t type, struct buf *out)
{
	CLEANUP_BUF struct buf state = BUF_INIT(VTPM_BLOB_MAX - SEAL_OVERHEAD_BYTES);
	if (type < VTPM_BLOB_PERMANENT || type > VTPM_BLOB_SAVESTATE)
		return ERR_FORMAT;
	int rc = lock_running(t);
	if (rc < 0)
		return rc;
	if (type == VTPM_BLOB_SAVESTATE)
		rc = -ENOENT;
	else if (t->failed)
		rc = -EIO;
	else
		rc = copy_state(type == VTPM_BLOB_PERMANENT ? TPMLIB_STATE_PERMANENT
							    : TPMLIB_STATE_VOLATILE,
				&state);
	if (rc >= 0)
		rc = blob_seal(t->blobs, (enum vtpm_blob)type, state.data, state.len, out);
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
	if (!sealed && t->blobs)
		return fault_set(f, ERR_AUTH, "not sealed, so nothing says whose it is");
	int rc = blob_open(t->blobs, type, data, n, state, f);
	if (rc >= 0 && type == VTPM_BLOB_SAVESTATE && state->len)
		return fault_set(f, ERR_FORMAT, "a TPM 2.0 has no such state");
	return rc;
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
	else
		rc = open_blob(t, (enum vtpm_blob)type, sealed, data, n, &state, f);
	if (rc != ERR_STATE && type == VTPM_BLOB_PERMANENT) {
		held_forget(&t->permanent);
		/* An empty blob leaves the stored state in force: no peer may have the vTPM made
		 * anew. */
		if (rc >= 0 && state.len)
			rc = held_set(&t->permanent, state.data, state.len);
		t->dirty = t->permanent.set;
	} else if (rc != ERR_STATE && type == VTPM_BLOB_VOLATILE) {
		held_forget(&t->volatile_now);
		if (rc >= 0)
			rc = held_set(&t->volatile_now, state.data, state.len);
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
	if (rc >= 0 && t->volatile_store)
		rc = store_save(t->volatile_store, state.data, state.len, f);
	else if (rc >= 0)
		rc = held_set(&t->volatile_now, state.data, state.len);
	pthread_mutex_unlock(&t->lock);
	return rc;
}
