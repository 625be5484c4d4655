/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/statehead.h"
#include "worker/slot.h"

#define PATH_PART_MAX (STORE_NAME_MAX + 8) /* with the longest suffix and the NUL */

struct store {
	int dir;
	struct seal *seal;
	struct slot slot[2];
	int current;	  /* index of the slot that is the state; -1 = no state yet */
	int folder_dirty; /* 1: the names on disk may differ from those the kernel shows */
	char name[PATH_PART_MAX], next[PATH_PART_MAX];	 /* once there is a state */
	char fresh[PATH_PART_MAX], spare[PATH_PART_MAX]; /* until then: slot 0, slot 1 */
	char probe[PATH_PART_MAX];
	char moved[PATH_PART_MAX]; /* instead of next: the VM runs on another host */
	int is_moved;		   /* since this opening */
	int comes;		   /* STORE_COMES */
	int mark_first;		   /* store_mark_first() */
	uint64_t highest;	   /* version; no new state has this one or a lower one */
	struct buf sealed;	   /* a whole file: head and sealed state */
};

/* ---- Looking -------------------------------------------------------------------------------- */

/* 1 and ST filled if NAME is there (links are not followed), 0 if not, -errno. */
static int look(const struct store *s, const char *name, struct stat *st)
{
	if (fstatat(s->dir, name, st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

/* Set SLOT to the index of the slot that NAME is, or to -1 if it is absent or something else. */
static int slot_named(const struct store *s, const char *name, int *slot)
{
	struct stat st;
	int rc = look(s, name, &st);
	*slot = -1;
	for (int i = 0; rc > 0 && i < 2; i++)
		if (slot_is(&st, &s->slot[i]))
			*slot = i;
	return rc < 0 ? rc : 0;
}

/*
 * Find out from the folder which slot is the state.  Refuses a folder in which the names are not
 * exactly our two files: a swap there would put a stranger in the state's place.
 */
static int identify(struct store *s, struct fault *f)
{
	int name, next, fresh, spare, rc;
	if ((rc = slot_named(s, s->name, &name)) < 0 || (rc = slot_named(s, s->next, &next)) < 0)
		return fault_set(f, rc, "the vTPM state's folder cannot be read: %s", err_text(rc));
	if (name >= 0 && next == 1 - name) {
		s->current = name;
		return 0;
	}
	if ((rc = slot_named(s, s->fresh, &fresh)) < 0 ||
	    (rc = slot_named(s, s->spare, &spare)) < 0)
		return fault_set(f, rc, "the vTPM state's folder cannot be read: %s", err_text(rc));
	if (next == -1 && name == s->current) {
		if (name == -1 && fresh == 0 && spare == 1) /* before the first state */
			return 0;
		if (name >= 0 && spare == 1 - name) /* the first state's second rename is missing */
			return 0;
	}
	return fault_set(f, ERR_STATE,
			 "the files '%s' and '%s' were moved, replaced or deleted while the vTPM "
			 "was running: nothing is written any more; stop the VM and put the files "
			 "back",
			 s->name, s->next);
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* Open what is in s->sealed; its version counts only if it is authentic. */
static int open_sealed(struct store *s, uint64_t *version, struct buf *out, struct fault *f)
{
	uint64_t said;
	size_t head;
	int rc = statehead_parse(s->sealed.data, s->sealed.len, &said, &head, f);
	if (rc >= 0)
		rc = seal_bind(s->seal, s->sealed.data, head);
	if (rc >= 0)
		rc = seal_open(s->seal, s->sealed.data + head, s->sealed.len - head, out, f);
	if (rc >= 0)
		*version = said;
	return rc;
}

int store_load(struct store *s, struct buf *out, struct fault *f)
{
	if (s->current < 0 && s->comes)
		return fault_set(f, ERR_STATE, "the vTPM's state has not come from the other host");
	if (s->current < 0)
		return fault_set(f, -ENOENT, "there is no vTPM state '%s' yet", s->name);
	struct slot *slot = &s->slot[s->current];
	buf_clear(&s->sealed);
	int rc = slot_read(slot, &s->sealed);
	if (rc < 0)
		return fault_wrap(f, rc, "the vTPM state '%s' cannot be read", s->name);
	rc = open_sealed(s, &slot->version, out, f);
	if (rc < 0)
		return fault_wrap(f, rc,
				  "the vTPM state '%s' is refused and left as it is (restore this "
				  "VM's own file from a backup)",
				  s->name);
	store_raise(s, slot->version);
	return 0;
}

uint64_t store_version(const struct store *s)
{
	return s->current < 0 ? 0 : s->slot[s->current].version;
}

void store_raise(struct store *s, uint64_t floor)
{
	if (s->highest < floor)
		s->highest = floor;
}

int store_exists(const struct store *s)
{
	return s->current >= 0;
}

/* ---- Storing -------------------------------------------------------------------------------- */

static int sync_folder(struct store *s)
{
	int rc;
	do
		rc = fsync(s->dir) < 0 ? -errno : 0;
	while (rc == -EINTR);
	s->folder_dirty = rc < 0;
	return rc;
}

static int swap(struct store *s, const char *from, const char *to, unsigned int flags)
{
	s->folder_dirty = 1;
	return renameat2(s->dir, from, s->dir, to, flags) < 0 ? -errno : 0;
}

/*
 * Swap made, sync failed: give the names back, so that the failure is a failure in every respect.
 * The folder stays dirty unless this sync succeeds, and the next store starts with that sync.
 */
static void take_back(struct store *s, const char *from, const char *to, unsigned int flags)
{
	if (swap(s, from, to, flags) == 0)
		(void)sync_folder(s);
}

static int save_again(struct store *s, uint64_t version, struct fault *f)
{
	struct fault ignored = { 0 };
	int spare = 1 - s->current;
	/* From here on the disk must not call the spare the state: see the theory of operation. */
	int rc = s->folder_dirty ? sync_folder(s) : 0;
	if (rc == 0)
		rc = slot_fill(&s->slot[spare], &s->sealed, version);
	if (rc < 0)
		return rc;
	int unnamed;
	rc = slot_named(s, s->spare, &unnamed);
	if (rc == 0 && unnamed == spare) /* the first state's second rename is missing */
		rc = swap(s, s->spare, s->next, RENAME_NOREPLACE);
	if (rc < 0)
		return rc;
	rc = swap(s, s->next, s->name, RENAME_EXCHANGE);
	if (rc == 0) {
		rc = sync_folder(s);
		if (rc < 0)
			take_back(s, s->next, s->name, RENAME_EXCHANGE);
	}
	/* Also after a success: the answer is what the folder says. */
	int seen = identify(s, rc == 0 ? f : &ignored);
	if (rc == 0 && seen == 0 && s->current != spare)
		return -EIO;
	return rc < 0 ? rc : seen;
}

/* The spare becomes the mark, durably, unless there is one of an earlier time. */
static int mark(struct store *s)
{
	struct stat st;
	int rc = look(s, s->moved, &st);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = swap(s, s->spare, s->moved, RENAME_NOREPLACE);
	if (rc == 0)
		rc = sync_folder(s);
	s->is_moved = rc == 0;
	return rc;
}

static int save_first(struct store *s, uint64_t version, struct fault *f)
{
	/* Dirty here means that an earlier attempt was taken back, perhaps not on disk. */
	int rc = s->folder_dirty ? sync_folder(s) : 0;
	if (rc == 0)
		rc = slot_fill(&s->slot[0], &s->sealed, version);
	if (rc == 0 && s->mark_first)
		rc = mark(s);
	if (rc < 0)
		return rc;
	rc = swap(s, s->fresh, s->name, RENAME_NOREPLACE);
	if (rc == 0) {
		rc = sync_folder(s);
		if (rc < 0)
			take_back(s, s->name, s->fresh, RENAME_NOREPLACE);
	}
	int named;
	int seen = slot_named(s, s->name, &named);
	if (named == 0)
		s->current = 0;
	if (rc < 0 || seen < 0)
		return rc < 0 ? rc : seen;
	if (named != 0)
		return fault_set(f, ERR_STATE, "the file '%s' was moved while it was being made",
				 s->name);
	/* If this fails, or is lost with the power, the next store or the next opening does it. */
	(void)swap(s, s->spare, s->next, RENAME_NOREPLACE);
	return 0;
}

/* Make the whole file, in s->sealed. */
static int seal_state(struct store *s, uint64_t version, const uint8_t *state, size_t n)
{
	uint8_t head[STATEHEAD_BYTES];
	statehead_make(version, head);
	buf_clear(&s->sealed);
	int rc = buf_add(&s->sealed, head, sizeof(head));
	if (rc >= 0)
		rc = seal_bind(s->seal, head, sizeof(head));
	return rc < 0 ? rc : seal_blob(s->seal, state, n, &s->sealed);
}

static int save_as(struct store *s, uint64_t version, const uint8_t *state, size_t n,
		   struct fault *f)
{
	int rc = seal_state(s, version, state, n);
	if (rc < 0)
		return fault_set(f, rc, "the vTPM's state of %zu bytes cannot be sealed: %s", n,
				 err_text(rc));
	if (s->is_moved)
		return fault_set(f, ERR_STATE, "the VM has moved to another host");
	rc = identify(s, f);
	if (rc < 0)
		return rc;
	rc = s->current < 0 ? save_first(s, version, f) : save_again(s, version, f);
	if (rc < 0)
		return fault_set(f, rc,
				 "the vTPM's state cannot be stored in '%s': %s; the earlier state "
				 "is kept, and the vTPM refuses to go on until the VM is reset",
				 s->name, err_text(rc));
	return 0;
}

int store_save(struct store *s, const uint8_t *state, size_t n, struct fault *f)
{
	if (s->highest >= STATEHEAD_VERSION_MAX)
		return fault_set(f, ERR_LIMIT, "the vTPM's state has no higher version");
	return save_as(s, ++s->highest, state, n, f);
}

int store_save_same(struct store *s, const uint8_t *state, size_t n, struct fault *f)
{
	uint64_t version = store_version(s);
	return version ? save_as(s, version, state, n, f) : store_save(s, state, n, f);
}

int store_renew(struct store *s, struct fault *f)
{
	CLEANUP_BUF struct buf state = BUF_INIT(SEAL_PLAINTEXT_MAX);
	if (s->current < 0 || store_version(s) >= s->highest)
		return 0;
	int rc = store_load(s, &state, f);
	return rc < 0 ? rc : store_save(s, state.data, state.len, f);
}

/* ---- Moving --------------------------------------------------------------------------------- */

/*
 * The mark is the spare's name: without NAME.next nothing can be stored by accident either.  State
 * that came back has a new spare; the old one gets a name that the next opening removes.
 */
int store_set_moved(struct store *s, int moved, struct fault *f)
{
	struct stat st;
	const char *from = moved ? s->next : s->moved;
	const char *to = moved ? s->moved : s->is_moved ? s->next : s->spare;
	int rc = look(s, s->moved, &st);
	if (rc >= 0 && rc == moved) {
		s->is_moved = moved && s->is_moved;
		return 0;
	}
	if (rc >= 0)
		rc = swap(s, from, to, RENAME_NOREPLACE);
	if (rc >= 0) {
		rc = sync_folder(s);
		if (rc < 0)
			take_back(s, to, from, RENAME_NOREPLACE);
	}
	if (rc < 0)
		return fault_set(f, rc, "the vTPM's state cannot be marked as %s: %s",
				 moved ? "moved" : "being here", err_text(rc));
	s->is_moved = moved;
	return 0;
}

void store_mark_first(struct store *s)
{
	s->mark_first = 1;
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Swap two spare files to see whether the filesystem can.  The names' roles are the caller's. */
static int probe_swap(struct store *s, const char *a, const char *b, struct fault *f)
{
	int rc = swap(s, a, b, RENAME_EXCHANGE);
	if (rc == -EINVAL || rc == -ENOSYS || rc == -EOPNOTSUPP)
		return fault_set(
			f, -EOPNOTSUPP,
			"the filesystem of the vTPM state's folder cannot swap two files in one "
			"step (RENAME_EXCHANGE); put the folder on ext4, xfs, btrfs, f2fs or "
			"tmpfs");
	if (rc < 0)
		return fault_set(f, rc, "the vTPM state's folder cannot be written: %s",
				 err_text(rc));
	return 0;
}

static int remove_if_there(struct store *s, const char *name, struct fault *f)
{
	if (unlinkat(s->dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	int rc = -errno;
	return fault_set(f, rc, "the left-over file '%s' cannot be removed: %s", name,
			 err_text(rc));
}

/* A state is there: authenticate it, then give it a new, empty spare. */
static int open_present(struct store *s, const struct stat *st, struct fault *f)
{
	CLEANUP_BUF struct buf plain = BUF_INIT(SEAL_PLAINTEXT_MAX);
	struct stat next;
	int rc = slot_check(st, s->name, f);
	if (rc == 0)
		rc = slot_open(s->dir, s->name, 0, &s->slot[0], f);
	if (rc < 0)
		return rc;
	s->current = 0;
	rc = store_load(s, &plain, f);
	if (rc < 0)
		return rc;
	int have_next = look(s, s->next, &next);
	if (have_next < 0)
		return fault_set(f, have_next, "the vTPM state's folder cannot be read: %s",
				 err_text(have_next));
	if (have_next && !S_ISREG(next.st_mode))
		return fault_set(f, -EINVAL,
				 "'%s', which belongs to the vTPM's state, is not a regular file; "
				 "remove it",
				 s->next);

	/*
	 * The old spare may hold anything, and have other names: it is replaced, which also shows
	 * that the filesystem can swap.
	 */
	rc = remove_if_there(s, s->probe, f);
	if (rc == 0)
		rc = slot_open(s->dir, s->probe, O_CREAT | O_EXCL, &s->slot[1], f);
	if (rc < 0)
		return rc;
	if (!have_next) {
		CLEANUP_FD int fd = -1;
		/* NAME.next on disk without NAME would read as a deleted state. */
		rc = sync_folder(s);
		if (rc == 0) {
			fd = openat(s->dir, s->next,
				    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				    SLOT_MODE);
			if (fd < 0)
				rc = -errno;
		}
		if (rc < 0)
			fault_set(f, rc, "the vTPM state's file '%s' cannot be made: %s", s->next,
				  err_text(rc));
	}
	if (rc == 0)
		rc = probe_swap(s, s->probe, s->next, f);
	if (rc < 0) {
		(void)unlinkat(s->dir, s->probe, 0);
		return rc;
	}
	rc = remove_if_there(s, s->probe, f);
	if (rc == 0)
		rc = remove_if_there(s, s->fresh, f);
	if (rc == 0)
		rc = remove_if_there(s, s->spare, f);
	return rc;
}

/* There is no state: may that be? */
static int check_absent(const struct store *s, enum store_birth birth, struct fault *f)
{
	struct stat st;
	int rc = look(s, s->next, &st);
	if (rc < 0)
		return fault_set(f, rc, "the vTPM state's folder cannot be read: %s", err_text(rc));
	if (rc > 0 && !s->comes)
		return fault_set(
			f, ERR_STATE,
			"the vTPM's state '%s' was deleted ('%s' beside it shows that there "
			"was one); restore it from a backup: no new vTPM is made in its place",
			s->name, s->next);
	if (birth == STORE_MUST_EXIST)
		return fault_set(
			f, -ENOENT,
			"the vTPM's state '%s' is missing, and this VM had one; restore it from "
			"a backup: no new vTPM is made in its place",
			s->name);
	return 0;
}

static int open_absent(struct store *s, enum store_birth birth, struct fault *f)
{
	int rc = check_absent(s, birth, f);
	if (rc == 0 && s->comes)
		rc = remove_if_there(s, s->next, f);
	if (rc == 0)
		rc = remove_if_there(s, s->fresh, f);
	if (rc == 0)
		rc = remove_if_there(s, s->spare, f);
	if (rc == 0)
		rc = slot_open(s->dir, s->fresh, O_CREAT | O_EXCL, &s->slot[0], f);
	if (rc == 0)
		rc = slot_open(s->dir, s->spare, O_CREAT | O_EXCL, &s->slot[1], f);
	if (rc == 0)
		rc = probe_swap(s, s->fresh, s->spare, f);
	if (rc < 0) {
		(void)unlinkat(s->dir, s->fresh, 0);
		(void)unlinkat(s->dir, s->spare, 0);
		return rc;
	}
	s->folder_dirty = 0; /* whatever of this is lost with the power, there was no state */
	struct slot first = s->slot[0];
	s->slot[0] = s->slot[1];
	s->slot[1] = first;
	return 0;
}

static int check_mark(const struct store *s, struct fault *f)
{
	struct stat st;
	int rc = look(s, s->moved, &st);
	if (rc < 0)
		return fault_set(f, rc, "the vTPM state's folder cannot be read: %s", err_text(rc));
	if (rc > 0 && !s->comes)
		return fault_set(
			f, ERR_POLICY,
			"vtpm.moved: the VM was migrated to another host, and what is here of its "
			"vTPM is old: start it there, or migrate it back ('%s' marks it)",
			s->moved);
	return 0;
}

static int set_names(struct store *s, const char *name, struct fault *f)
{
	size_t n = strlen(name);
	if (n == 0 || n >= STORE_NAME_MAX || strchr(name, '/') || name[0] == '.')
		return fault_set(f, ERR_USAGE, "'%s' cannot be the name of a vTPM's state file",
				 name);
	snprintf(s->name, sizeof(s->name), "%s", name);
	snprintf(s->next, sizeof(s->next), "%s.next", name);
	snprintf(s->fresh, sizeof(s->fresh), "%s.new", name);
	snprintf(s->spare, sizeof(s->spare), "%s.spare", name);
	snprintf(s->probe, sizeof(s->probe), "%s.probe", name);
	snprintf(s->moved, sizeof(s->moved), "%s.moved", name);
	return 0;
}

int store_may_open(int dir_fd, const char *name, enum store_birth birth, struct fault *f)
{
	struct store s = { .dir = dir_fd, .comes = birth == STORE_COMES };
	struct stat st;
	int rc = set_names(&s, name, f);
	if (rc == 0)
		rc = check_mark(&s, f);
	if (rc < 0)
		return rc;
	rc = look(&s, s.name, &st);
	if (rc < 0)
		return fault_set(f, rc, "the vTPM state's folder cannot be read: %s", err_text(rc));
	return rc > 0 ? 0 : check_absent(&s, birth, f);
}

int store_open(int dir_fd, const char *name, struct seal *seal, enum store_birth birth,
	       struct store **out, struct fault *f)
{
	struct store *s = calloc(1, sizeof(*s));
	struct stat st;
	int rc;
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->dir = -1;
	s->slot[0].fd = s->slot[1].fd = -1;
	s->current = -1;
	s->folder_dirty = 1;
	s->seal = seal;
	s->comes = birth == STORE_COMES;
	s->sealed = BUF_INIT(STATEHEAD_BYTES + SEAL_FILE_MAX);
	rc = set_names(s, name, f);
	if (rc < 0)
		goto fail;
	s->dir = dir_fd;
	if (flock(dir_fd, LOCK_EX | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK ? ERR_STATE : -errno;
		fault_set(f, rc,
			  rc == ERR_STATE ? "the vTPM's state '%s' is in use by another process"
					  : "the folder of the vTPM's state '%s' cannot be locked",
			  name);
		goto fail;
	}
	rc = check_mark(s, f);
	if (rc < 0)
		goto fail;
	rc = look(s, s->name, &st);
	if (rc < 0)
		fault_set(f, rc, "the vTPM state's folder cannot be read: %s", err_text(rc));
	else if (rc > 0)
		rc = open_present(s, &st, f);
	else
		rc = open_absent(s, birth, f);
	if (rc < 0)
		goto fail;
	*out = s;
	return 0;
fail:
	s->dir = -1; /* stays the caller's */
	store_free(s);
	return rc;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	fd_close(&s->slot[0].fd);
	fd_close(&s->slot[1].fd);
	fd_close(&s->dir);
	buf_done(&s->sealed);
	free(s);
}
