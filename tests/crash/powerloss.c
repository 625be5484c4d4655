/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power loss at every step of the state store, on a model of the disk (disk.h).
 *
 * A child stores states one after the other; its system calls are traced, and after each that
 * changed the folder the power is lost in many ways: every subset of the names' pending changes,
 * combined with pending contents lost in part or whole.  What is left is put into a folder and
 * opened with the real store.  It must open and hold the last acknowledged state or one that was
 * being stored after it.  Before that the child may have been killed at any call, or may have had
 * any call fail, and a second one may have gone on from there.
 *
 * The same is then done with one of the store's syncs ignored by the model: each time a loss must
 * be found, which shows that the test would notice a missing sync.
 *
 * Usage: powerloss [-v]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/crash/disk.h"
#include "tests/crash/tracer.h"
#include "worker/store.h"

#define NAME	     "vtpm"
#define FDS_MAX	     64
#define SEEN_SLOTS   (1U << 20)
#define ATTEMPTS_MAX 16
#define SESSIONS_MAX 3
#define TORN_SAMPLES 3

enum without { WITHOUT_NOTHING, WITHOUT_FDATASYNC, WITHOUT_FSYNC, WITHOUT_EARLY_FSYNC };
static const char *const WITHOUT_NAMES[] = { "all syncs in place", "without fdatasync",
					     "without the folder's fsync",
					     "without the folder's fsync before storing" };

/* One process: opens the store and saves. */
struct session {
	int saves;
	int kill_at; /* stop, counted from 1; 0 = none */
	int fail_at; /* changing call, counted from 1; 0 = none */
	enum { FAIL_INSTEAD, FAIL_AFTER, FAIL_AND_NEXT_SYNC, FAIL_WAYS } fail_how;
};

struct world {
	enum without without;
	struct disk *disk;
	struct seal *seal;
	char folder[64], left[64]; /* where the children work, where what is left is looked at */
	int dir, mark[2];
	int file_of[FDS_MAX];
	/* what may be found */
	int have_ack;
	uint32_t acked, attempts[ATTEMPTS_MAX];
	uint64_t acked_version;
	size_t n_attempts;
	uint32_t next_value;
	/* the running session */
	const struct session *session;
	int stops, changes, reached, fail_sync, nothing_written_yet;
	/* results */
	uint64_t *seen, n_seen, n_losses, n_points, n_violations, seed;
	char violation[512];
};

struct mark {
	uint32_t kind, value; /* 'A' = is being stored, 'K' = is stored */
	uint64_t version;     /* K: under this one */
};

/* ---- The states ------------------------------------------------------------------------------ */

static size_t make_state(uint32_t value, uint8_t state[static 4096])
{
	uint64_t seed = value + 1;
	size_t n = 600 + value * 397U % 1500;
	for (size_t i = 0; i < n; i++)
		state[i] = (uint8_t)disk_random(&seed);
	memcpy(state, &value, sizeof(value));
	return n;
}

/* The value of a state, -1 if it is none. */
static int64_t value_of(const struct buf *b)
{
	uint8_t state[4096];
	uint32_t value;
	if (b->len < sizeof(value))
		return -1;
	memcpy(&value, b->data, sizeof(value));
	size_t n = make_state(value, state);
	return n == b->len && memcmp(state, b->data, n) == 0 ? (int64_t)value : -1;
}

static int is_allowed(const struct world *w, int64_t value)
{
	if (w->have_ack && value == w->acked)
		return 1;
	for (size_t i = 0; i < w->n_attempts; i++)
		if (value == w->attempts[i])
			return 1;
	return 0;
}

/* Open the store in FOLDER as it must open now; 0, or 1 with TEXT saying what is wrong. */
static int check_folder(struct world *w, const char *folder, struct store **out, char text[256])
{
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	struct fault f = { 0 };
	struct store *s;
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), bad = 0;
	int rc = store_open(dir, NAME, w->seal, w->have_ack ? STORE_MUST_EXIST : STORE_MAY_BE_NEW,
			    &s, &f);
	if (rc < 0) {
		close(dir);
		snprintf(text, 256, "does not open: %.200s", f.text);
		return 1;
	}
	if (store_exists(s)) {
		rc = store_load(s, &b, &f);
		int64_t value = rc < 0 ? -1 : value_of(&b);
		bad = !is_allowed(w, value);
		if (bad)
			snprintf(text, 256, "holds state %lld, acknowledged was %u",
				 (long long)value, w->have_ack ? w->acked : 0);
		/* What a guardian may have been told of. */
		if (!bad && w->have_ack && store_version(s) < w->acked_version) {
			bad = 1;
			snprintf(text, 256, "is of version %llu, acknowledged was %llu",
				 (unsigned long long)store_version(s),
				 (unsigned long long)w->acked_version);
		}
	} else if (w->have_ack) {
		bad = 1;
		snprintf(text, 256, "holds nothing, acknowledged was %u", w->acked);
	}
	if (out && !bad)
		*out = s;
	else
		store_free(s);
	return bad;
}

/* ---- Losing the power ------------------------------------------------------------------------ */

static uint64_t mix(uint64_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ p[i]) * 1099511628211ULL;
	return sum;
}

/* 1 if this has been looked at already. */
static int seen_before(struct world *w, const struct disk_left *left, size_t n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) /* in any order */
		sum += mix(mix(14695981039346656037ULL, left[i].name, strlen(left[i].name) + 1),
			   left[i].data, left[i].n);
	sum = mix(sum, &w->have_ack, sizeof(w->have_ack));
	sum = mix(sum, &w->acked, sizeof(w->acked));
	sum = mix(sum, w->attempts, w->n_attempts * sizeof(w->attempts[0]));
	sum += !sum;
	for (size_t i = sum % SEEN_SLOTS;; i = (i + 1) % SEEN_SLOTS) {
		if (w->seen[i] == sum)
			return 1;
		if (w->seen[i] == 0) {
			if (w->n_seen < SEEN_SLOTS / 2) {
				w->seen[i] = sum;
				w->n_seen++;
			}
			return 0;
		}
	}
}

static int empty_folder(const char *folder)
{
	static const char *const NAMES[] = { NAME, NAME ".next", NAME ".new", NAME ".spare",
					     NAME ".probe" };
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		if (unlinkat(dir, NAMES[i], 0) < 0 && errno != ENOENT)
			return -errno;
	return close(dir);
}

static void fill_folder(const char *folder, const struct disk_left *left, size_t n)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FD int fd =
			openat(dir, left[i].name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0 || fd_write_full(fd, left[i].data, left[i].n) < 0)
			abort();
	}
	close(dir);
}

static void lose_power_in_one_way(struct world *w, uint64_t mask, enum disk_loss loss)
{
	struct disk_left left[DISK_NAMES_MAX];
	char text[256];
	struct store *s = NULL;
	size_t n = disk_after_loss(w->disk, mask, loss, disk_random(&w->seed), left);
	if (seen_before(w, left, n))
		return;
	w->n_losses++;
	if (empty_folder(w->left) < 0)
		abort();
	fill_folder(w->left, left, n);
	if (check_folder(w, w->left, &s, text)) {
		if (!w->n_violations++)
			snprintf(w->violation, sizeof(w->violation),
				 "after stop %d of the session (kill at %d, fail %d in way %d): "
				 "names kept "
				 "%llx of %u, contents loss %d: %s",
				 w->stops, w->session->kill_at, w->session->fail_at,
				 (int)w->session->fail_how, (unsigned long long)mask,
				 disk_pending_names(w->disk), (int)loss, text);
		return;
	}
	/* Now and then: what is left can also be worked with. */
	if (w->n_losses % 32 == 0 && store_save(s, (const uint8_t *)"x", 1, NULL) < 0)
		w->n_violations++;
	store_free(s);
}

static void lose_power(struct world *w)
{
	unsigned int n = disk_pending_names(w->disk);
	w->n_points++;
	for (uint64_t i = 0; i < (n < 8 ? 1ULL << n : 256); i++) {
		uint64_t mask = n < 8 ? i : disk_random(&w->seed);
		for (enum disk_loss loss = 0; loss < DISK_LOSSES; loss++)
			for (int k = 0; k < (loss == DISK_LOSE_SECTORS ? TORN_SAMPLES : 1); k++)
				lose_power_in_one_way(w, mask, loss);
	}
}

/* ---- Following the child --------------------------------------------------------------------- */

static int file_of(const struct world *w, uint64_t fd)
{
	return fd < FDS_MAX ? w->file_of[fd] : -1;
}

static void follow_mark(struct world *w, const struct trace_stop *stop)
{
	struct mark m;
	if (trace_read(stop->pid, stop->args[1], &m, sizeof(m)) != sizeof(m))
		abort();
	if (m.kind == 'K') {
		w->have_ack = 1;
		w->acked = m.value;
		w->acked_version = m.version;
		w->n_attempts = 0;
	} else {
		if (w->n_attempts == ATTEMPTS_MAX)
			abort();
		w->attempts[w->n_attempts++] = m.value;
		w->next_value = m.value + 1;
		w->nothing_written_yet = 1;
	}
}

static void child_name(const struct trace_stop *stop, int arg, char name[static DISK_NAME_MAX])
{
	memset(name, 0, DISK_NAME_MAX);
	for (size_t i = 0; i < DISK_NAME_MAX - 1; i++)
		if (trace_read(stop->pid, stop->args[arg] + i, &name[i], 1) != 1 || !name[i])
			return;
}

static void follow_sync(struct world *w, const struct trace_stop *stop)
{
	if (stop->call == __NR_fdatasync) {
		if (w->without != WITHOUT_FDATASYNC)
			disk_sync_file(w->disk, file_of(w, stop->args[0]));
	} else if (w->without != WITHOUT_FSYNC &&
		   !(w->without == WITHOUT_EARLY_FSYNC && w->nothing_written_yet)) {
		disk_sync_folder(w->disk);
	}
}

/* Do to the model what the call did.  Returns 1 if it can have changed anything. */
static int follow(struct world *w, const struct trace_stop *stop)
{
	char name[DISK_NAME_MAX], to[DISK_NAME_MAX];
	uint8_t data[4096];
	int file = file_of(w, stop->args[0]);
	size_t n;
	switch (stop->call) {
	case __NR_openat:
		if ((int)stop->args[0] != w->dir || stop->result >= FDS_MAX)
			return 0;
		child_name(stop, 1, name);
		file = disk_find(w->disk, name);
		if (file < 0)
			file = disk_create(w->disk, name);
		w->file_of[stop->result] = file;
		return 1;
	case __NR_pwrite64:
		n = trace_read(stop->pid, stop->args[1], data, sizeof(data));
		if ((int64_t)n < stop->result)
			abort();
		disk_write(w->disk, file, (size_t)stop->args[3], data, (size_t)stop->result);
		w->nothing_written_yet = 0;
		return 1;
	case __NR_ftruncate:
		disk_truncate(w->disk, file, (size_t)stop->args[1]);
		return 1;
	case __NR_renameat2:
		child_name(stop, 1, name);
		child_name(stop, 3, to);
		disk_rename(w->disk, name, to, (unsigned int)stop->args[4]);
		w->nothing_written_yet = 0;
		return 1;
	case __NR_unlinkat:
		child_name(stop, 1, name);
		disk_unlink(w->disk, name);
		return 1;
	case __NR_fdatasync:
	case __NR_fsync:
		follow_sync(w, stop);
		return 1;
	default:
		return 0;
	}
}

static int is_change(long call)
{
	return call == __NR_pwrite64 || call == __NR_ftruncate || call == __NR_renameat2 ||
	       call == __NR_unlinkat || call == __NR_fdatasync || call == __NR_fsync;
}

static enum trace_action watch(void *arg, const struct trace_stop *stop)
{
	struct world *w = arg;
	const struct session *s = w->session;
	if (stop->call == __NR_write && (int)stop->args[0] == w->mark[1]) {
		if (!stop->entry) {
			follow_mark(w, stop);
			lose_power(w);
		}
		return TRACE_GO;
	}
	if (!trace_is_store_call(stop->call))
		return TRACE_GO;
	if (!stop->entry && stop->result >= 0 && follow(w, stop))
		lose_power(w);
	if (++w->stops == s->kill_at) {
		w->reached = 1;
		return TRACE_KILL;
	}
	if (!is_change(stop->call))
		return TRACE_GO;
	if (stop->entry)
		w->changes++;
	if (w->changes == s->fail_at && stop->entry == (s->fail_how != FAIL_AFTER)) {
		w->reached = 1;
		w->fail_sync = s->fail_how == FAIL_AND_NEXT_SYNC;
		return TRACE_FAIL;
	}
	if (w->fail_sync && stop->entry && stop->call == __NR_fsync) {
		w->fail_sync = 0;
		return TRACE_FAIL;
	}
	return TRACE_GO;
}

/* The child: opens, looks, saves. */
static void body(void *arg)
{
	struct world *w = arg;
	uint8_t state[4096];
	struct fault f = { 0 };
	struct store *s = NULL;
	int rc = store_open(w->dir, NAME, w->seal,
			    w->have_ack ? STORE_MUST_EXIST : STORE_MAY_BE_NEW, &s, &f);
	if (rc < 0) {
		if (!w->session->fail_at)
			fprintf(stderr, "powerloss: %s\n", f.text);
		_exit(w->session->fail_at ? 0 : 1);
	}
	CLEANUP_BUF struct buf found = BUF_INIT(SEAL_PLAINTEXT_MAX);
	if (store_exists(s) ? store_load(s, &found, NULL) < 0 || !is_allowed(w, value_of(&found))
			    : w->have_ack)
		_exit(4);
	for (int i = 0; i < w->session->saves; i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
		struct mark m = { 'A', w->next_value + (uint32_t)i, 0 };
		size_t n = make_state(m.value, state);
		if (write(w->mark[1], &m, sizeof(m)) != sizeof(m))
			_exit(2);
		rc = store_save(s, state, n, NULL);
		if (rc < 0)
			continue;
		m.kind = 'K';
		m.version = store_version(s);
		if (write(w->mark[1], &m, sizeof(m)) != sizeof(m) || store_load(s, &b, NULL) < 0 ||
		    value_of(&b) != m.value)
			_exit(3);
	}
	_exit(0);
}

/* ---- Scenarios ------------------------------------------------------------------------------- */

/* Run sessions one after the other from an empty folder.  1 if all their kills and failures came.
 */
static int run(struct world *w, const struct session *sessions, size_t n)
{
	int all_reached = 1;
	char text[256];
	if (empty_folder(w->folder) < 0)
		abort();
	disk_free(w->disk);
	w->disk = disk_new();
	w->have_ack = 0;
	w->n_attempts = 0;
	for (size_t i = 0; i < n; i++) {
		w->session = &sessions[i];
		w->stops = w->changes = w->reached = w->fail_sync = 0;
		w->dir = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (w->dir < 0 || pipe2(w->mark, O_CLOEXEC) < 0)
			abort();
		int status = trace_run(body, w, watch, w);
		close(w->mark[0]);
		close(w->mark[1]);
		close(w->dir);
		if (status != 0 && !(sessions[i].kill_at && w->reached)) {
			w->n_violations++;
			snprintf(w->violation, sizeof(w->violation),
				 "session %zu (kill at %d, fail at %d) ended with status %#x", i,
				 sessions[i].kill_at, sessions[i].fail_at, status);
			return 0;
		}
		if ((sessions[i].kill_at || sessions[i].fail_at) && !w->reached)
			all_reached = 0;
	}
	/* And without any power loss: what the next process would see. */
	if (check_folder(w, w->folder, NULL, text)) {
		w->n_violations++;
		snprintf(w->violation, sizeof(w->violation), "in the end: %s", text);
	}
	return all_reached;
}

static void run_all(struct world *w)
{
	const struct session plain = { .saves = 3 };
	const int limit = w->without ? 12 : 400; /* enough to find what is missing */
	struct session s[SESSIONS_MAX] = { plain, plain, plain };
	run(w, s, 2);
	for (int with_state = 0; with_state < 2; with_state++) {
		struct session *cut = &s[with_state];
		cut->saves = 2;
		for (cut->kill_at = 1; cut->kill_at < limit; cut->kill_at++)
			if (!run(w, s, (size_t)with_state + 2) || w->n_violations)
				break;
		cut->kill_at = 0;
		cut->saves = 3;
		for (cut->fail_how = 0; cut->fail_how < FAIL_WAYS; cut->fail_how++)
			for (cut->fail_at = 1; cut->fail_at < limit; cut->fail_at++)
				if (!run(w, s, (size_t)with_state + 2) || w->n_violations)
					break;
		*cut = plain;
	}
}

int main(int argc, char **argv)
{
	static struct world w;
	const struct vm_key key = { .bytes = { 1 } };
	const uint8_t vm[UUID_BYTES] = { 2 };
	int bad = 0, verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	char folder[] = "/tmp/powerloss-XXXXXX";
	w.seen = calloc(SEEN_SLOTS, sizeof(*w.seen));
	if (!w.seen || !mkdtemp(folder) ||
	    seal_new(&key, KEY_USE_VTPM_STATE, vm, NULL, 0, &w.seal) < 0)
		return 1;
	snprintf(w.folder, sizeof(w.folder), "%s/live", folder);
	snprintf(w.left, sizeof(w.left), "%s/left", folder);
	if (mkdir(w.folder, 0700) < 0 || mkdir(w.left, 0700) < 0)
		return 1;
	for (w.without = 0; w.without <= WITHOUT_EARLY_FSYNC; w.without++) {
		memset(w.seen, 0, SEEN_SLOTS * sizeof(*w.seen));
		w.n_seen = w.n_losses = w.n_points = w.n_violations = 0;
		w.seed = 1;
		run_all(&w);
		int wrong = w.without ? !w.n_violations : w.n_violations != 0;
		printf("%-45s %6llu points, %7llu different losses, %s%s\n",
		       WITHOUT_NAMES[w.without], (unsigned long long)w.n_points,
		       (unsigned long long)w.n_losses,
		       w.n_violations ? "a state was lost" : "no state lost",
		       wrong ? " -- WRONG" : "");
		if (w.n_violations && (wrong || verbose))
			printf("\t%s\n", w.violation);
		bad |= wrong;
	}
	if (empty_folder(w.folder) == 0 && empty_folder(w.left) == 0) {
		(void)rmdir(w.folder);
		(void)rmdir(w.left);
		(void)rmdir(folder);
	}
	disk_free(w.disk);
	seal_free(w.seal);
	free(w.seen);
	return bad;
}
