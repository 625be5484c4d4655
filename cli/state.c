/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `shieldvm state verify`, `open` and `shred`.
 */
#include "cli/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/statekeys.h"
#include "crypto/flow.h"

static void take_option(int c, struct state_options *o)
{
	switch (c) {
	case 'k':
		o->key = optarg;
		break;
	case 'p':
		o->protector = optarg;
		break;
	case 'o':
		o->output = optarg;
		break;
	case 'j':
		o->json = 1;
		break;
	case 'f':
		o->force = 1;
		break;
	default:
		o->yes = 1;
		break;
	}
}

int state_options(int argc, char **argv, const char *takes, struct state_options *out,
		  struct fault *f)
{
	static const struct option OPTIONS[] = { { "help", no_argument, NULL, OPTIONS_HELP },
						 { "key", required_argument, NULL, 'k' },
						 { "protector", required_argument, NULL, 'p' },
						 { "output", required_argument, NULL, 'o' },
						 { "json", no_argument, NULL, 'j' },
						 { "force", no_argument, NULL, 'f' },
						 { "yes", no_argument, NULL, 'y' },
						 { 0 } };
	*out = (struct state_options){ 0 };
	for (int c; (c = options_next(argc, argv, OPTIONS, takes, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		take_option(c, out);
	}
	int rc = options_operands(argc, argv, 1, "FILE", f);
	if (rc >= 0)
		out->file = argv[optind];
	return rc;
}

const char *state_kind(const struct statefile *s)
{
	return s->claims.purpose == KEY_USE_DUMP ? "dump" : "saved state";
}

void state_tpm_text(const uint8_t tpm_id[static PROTECTOR_TPM_ID_BYTES],
		    char text[static TPM_TEXT_SIZE])
{
	for (size_t i = 0; i < PROTECTOR_TPM_ID_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", tpm_id[i]);
}

json_t *state_json_text(const char *text)
{
	json_t *s = json_string(text);
	char ascii[FAULT_TEXT_MAX];
	if (s)
		return s;
	snprintf(ascii, sizeof(ascii), "%s", text);
	for (char *p = ascii; *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	return json_string(ascii);
}

/* ---- Reading a whole file ------------------------------------------------------------------- */

/* One reading of a file. */
struct reading {
	struct statefile s;
	struct statekeys keys;
	struct stream_facts facts;
	struct progress progress;
	struct flow_progress at; /* how far it came */
};

static void reading_done(struct reading *r)
{
	statekeys_done(&r->keys);
	statefile_done(&r->s);
}

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

static int watch(void *arg, const struct flow_progress *at)
{
	struct reading *r = arg;
	progress_show(&r->progress, at->in_bytes);
	return interrupted ? -EINTR : 0;
}

/* Open FILE, and its header with the key. */
static int begin_reading(struct reading *r, const struct state_options *o, struct fault *f)
{
	CLEANUP_STREAM struct stream *stream = NULL;
	int rc = statefile_open(&r->s, o->file, 0, f);
	if (rc >= 0)
		rc = statefile_check_raw(&r->s, f);
	if (rc >= 0 && r->s.claims.shredded)
		return fault_set(f, ERR_STATE,
				 "%s: its key was shredded: nobody can open it any more",
				 r->s.name);
	if (rc >= 0)
		rc = statekeys_open(&r->keys, &r->s, o->key, o->protector, f);
	if (rc < 0)
		return rc;
	rc = stream_open(r->keys.keys, r->s.claims.purpose, r->s.front, r->s.front_bytes, &stream,
			 f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", r->s.name);
	r->facts = *stream_facts(stream);
	return 0;
}

/* Where record NUMBER begins, counted as statefile.at is. */
static uint64_t record_at(const struct statefile *s, uint64_t number)
{
	return s->at + s->front_bytes + number * (s->claims.record_bytes + STREAM_RECORD_EXTRA);
}

/* Add to the sentence in F what the reader has to know: which file, and where. */
static int explain(const struct reading *r, int rc, struct fault *f)
{
	int read_error = statefile_feed_error();
	if (rc == ERR_TRUNCATED && read_error < 0) {
		f->text[0] = '\0';
		return fault_set(f, read_error, "%s: %s", r->s.name, err_text(read_error));
	}
	if (rc == -EINTR)
		return fault_set(f, rc, "%s: interrupted", r->s.name);
	if (rc >= ERR_AUTH && rc < ERR_LAST) {
		char said[FAULT_TEXT_MAX];
		memcpy(said, f->text, sizeof(said));
		f->text[0] = '\0';
		return fault_set(f, rc,
				 "%s: %s (record %" PRIu64 " would begin at byte %" PRIu64
				 " of the file; what is in front of it is authentic)",
				 r->s.name, said, r->at.records, record_at(&r->s, r->at.records));
	}
	return fault_wrap(f, rc, "%s", r->s.name);
}

static void cleanup_pool(struct pool **p)
{
	pool_free(*p);
}

/* All of it, onto OUT or (-1) only to verify. */
static int read_all(struct reading *r, int out, struct fault *f)
{
	CLEANUP(cleanup_pool) struct pool *pool = NULL;
	CLEANUP_FLOW struct flow *flow = NULL;
	int in = -1;
	int rc = pool_new(0, &pool);
	if (rc >= 0)
		rc = flow_new(pool, &flow);
	if (rc < 0)
		return fault_set(f, rc, "no threads or memory to decrypt with: %s", err_text(rc));
	rc = statefile_stream(&r->s, &in, f);
	if (rc >= 0)
		rc = flow_open_start(flow, r->keys.keys, r->s.claims.purpose, in, out, f);
	if (rc < 0)
		return rc;
	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	progress_begin(&r->progress, r->s.is_regular ? r->s.bytes - r->s.at : 0);
	rc = flow_run(flow, watch, r, f);
	progress_end(&r->progress);
	r->at = flow_progress(flow);
	return rc < 0 ? explain(r, rc, f) : 0;
}

/* ---- Verify --------------------------------------------------------------------------------- */

#define UNFINISHED                                                                                 \
	"libvirt's header says that it did not finish the save (LibvirtQemudPart), and libvirt "   \
	"does not restore it"

static int verify(struct reading *r, const struct state_options *o, struct fault *f)
{
	int rc = begin_reading(r, o, f);
	if (rc >= 0)
		rc = read_all(r, -1, f);
	if (rc >= 0 && r->s.has_image && !r->s.image.complete)
		return fault_set(f, ERR_STATE,
				 "%s: the sealed state is authentic and complete, but " UNFINISHED,
				 r->s.name);
	return rc;
}

static int print_verified(const struct reading *r, int json, const char *refusal)
{
	char vm[UUID_TEXT_SIZE], tpm[TPM_TEXT_SIZE], bytes[BYTES_TEXT_SIZE];
	char how[BYTES_TEXT_SIZE + 64] = "";
	int is_dump = r->s.claims.purpose == KEY_USE_DUMP;
	uuid_format(r->facts.vm, vm);
	state_tpm_text(r->facts.tpm_id, tpm);
	enum stream_compression c = r->s.claims.compression;
	bytes_text(r->at.out_bytes, bytes);
	if (c != STREAM_AS_IT_IS) {
		char packed[BYTES_TEXT_SIZE];
		bytes_text(r->at.plain_bytes, packed);
		snprintf(how, sizeof(how), ", compressed to %s (%s)", packed,
			 stream_compression_name(c));
	}
	if (!json) {
		printf("%s: %s. %s of VM %s (level %s), %s%s in %" PRIu64 " record%s.\n", r->s.name,
		       is_dump ? "complete and unaltered since it was made for this key"
			       : "authentic and complete",
		       is_dump ? "Dump" : "Saved state", vm, level_name(r->facts.level), bytes, how,
		       r->at.records, r->at.records == 1 ? "" : "s");
		if (is_dump)
			puts("Who made it is not proven: everybody who knows the owner's public "
			     "key can make a dump.");
		return 0;
	}
	json_t *o =
		refusal ? json_pack("{s:b,s:o,s:I,s:I}", "ok", 0, "reason",
				    state_json_text(refusal), "record", (json_int_t)r->at.records,
				    "offset", (json_int_t)record_at(&r->s, r->at.records))
			: json_pack("{s:b,s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:I}", "ok", 1, "kind",
				    is_dump ? "dump" : "saved-state", "vm", vm, "level",
				    level_name(r->facts.level), "tpm", tpm, "records",
				    (json_int_t)r->at.records, "plain_bytes",
				    (json_int_t)r->at.out_bytes, "compression",
				    stream_compression_name(c), "packed_bytes",
				    (json_int_t)r->at.plain_bytes);
	int rc = o ? json_dumpf(o, stdout, 0) : -ENOMEM;
	if (o && rc >= 0)
		putchar('\n');
	json_decref(o);
	return !o ? -ENOMEM : rc < 0 ? -EIO : 0;
}

int cmd_state_verify(int argc, char **argv, struct fault *f)
{
	CLEANUP(reading_done) struct reading r = { .s.fd = -1 };
	struct state_options o;
	int rc = state_options(argc, argv, "kpj", &o, f);
	if (rc != 0)
		return rc;
	rc = verify(&r, &o, f);
	/* Verdicts only: what kept it from being judged is no verdict on the file. */
	if (rc < 0 && (!o.json || err_exit_code(rc) != EXIT_REFUSED))
		return rc;
	int printed = print_verified(&r, o.json, rc < 0 ? f->text : NULL);
	return rc < 0 ? rc : printed;
}

/* ---- Open ----------------------------------------------------------------------------------- */

/* Standard output, as a description of its own where that can be: the flow sets it non-blocking. */
static int open_stdout(int *out, struct fault *f)
{
	struct stat st;
	if (isatty(STDOUT_FILENO))
		return fault_set(f, ERR_USAGE,
				 "standard output is a terminal, and this is the memory of a VM; "
				 "give -o OUT, or a pipe");
	if (fstat(STDOUT_FILENO, &st) < 0)
		return fault_set(f, -errno, "standard output: %s", err_text(-errno));
	*out = S_ISFIFO(st.st_mode) ? open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC)
				    : -1;
	if (*out < 0)
		*out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	return *out < 0 ? fault_set(f, -errno, "standard output: %s", err_text(-errno)) : 0;
}

static void say_opened(const struct reading *r, const char *path)
{
	char bytes[BYTES_TEXT_SIZE];
	bytes_text(r->at.out_bytes, bytes);
	int is_dump = r->s.claims.purpose == KEY_USE_DUMP;
	fprintf(stderr,
		"%s: %s, %s.\nIt holds the guest's memory in the clear: delete it when it "
		"has served its purpose.\n",
		path, bytes,
		is_dump ? "for crash(8), gdb or whatever the format is for"
			: "QEMU's migration stream, without libvirt's header");
	if (r->s.has_image && !r->s.image.complete)
		fputs("Note: " UNFINISHED ".\n", stderr);
}

static int open_to_file(struct reading *r, const struct state_options *o, struct fault *f)
{
	CLEANUP_OUTFILE struct outfile out = { .fd = -1 };
	struct stat from, to;
	if (fstat(r->s.fd, &from) == 0 && stat(o->output, &to) == 0 && from.st_dev == to.st_dev &&
	    from.st_ino == to.st_ino)
		return fault_set(f, ERR_USAGE, "-o %s is the sealed file itself", o->output);
	int rc = outfile_begin(&out, o->output, o->force, f);
	if (rc >= 0)
		rc = read_all(r, out.fd, f);
	if (rc >= 0)
		rc = outfile_commit(&out, f);
	if (rc >= 0)
		say_opened(r, o->output);
	return rc;
}

int cmd_state_open(int argc, char **argv, struct fault *f)
{
	CLEANUP(reading_done) struct reading r = { .s.fd = -1 };
	CLEANUP_FD int out = -1;
	struct state_options o;
	int rc = state_options(argc, argv, "kpof", &o, f);
	if (rc != 0)
		return rc;
	if (!o.output)
		return fault_set(f, ERR_USAGE, "%s: -o OUT is missing (see --help)", argv[0]);
	int to_stdout = strcmp(o.output, "-") == 0;
	if (to_stdout)
		rc = open_stdout(&out, f);
	if (rc >= 0)
		rc = begin_reading(&r, &o, f);
	if (rc >= 0)
		rc = to_stdout ? read_all(&r, out, f) : open_to_file(&r, &o, f);
	return rc;
}

/* ---- Shred ---------------------------------------------------------------------------------- */

static int confirm(const struct statefile *s, struct fault *f)
{
	char vm[UUID_TEXT_SIZE], answer[16] = "";
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return fault_set(f, ERR_USAGE,
				 "what is shredded is lost for everybody; say --yes if that is "
				 "meant");
	uuid_format(s->claims.vm, vm);
	fprintf(stderr,
		"%s: the %s of VM %s (as it says).\n"
		"Without its key nobody can open it again, its owner included. Shred it? (yes/no) ",
		s->name, state_kind(s), vm);
	if (!fgets(answer, sizeof(answer), stdin) || strcmp(answer, "yes\n") != 0)
		return fault_set(f, ERR_STATE, "%s: not shredded", s->name);
	return 0;
}

int cmd_state_shred(int argc, char **argv, struct fault *f)
{
	CLEANUP_STATEFILE struct statefile s = { .fd = -1 };
	struct state_options o;
	size_t from = 0, bytes = 0;
	int rc = state_options(argc, argv, "y", &o, f);
	if (rc != 0)
		return rc;
	rc = statefile_open(&s, o.file, 1, f);
	if (rc >= 0 && !s.sealed)
		return fault_set(f, ERR_STATE,
				 "%s: libvirt compressed it, so its key cannot be found in place; "
				 "overwrite and delete all of it: shred -u FILE",
				 s.name);
	if (rc < 0)
		return rc;
	if (s.claims.shredded) {
		fprintf(stderr, "%s: its key was shredded already\n", s.name);
		return 0;
	}
	if (!o.yes)
		rc = confirm(&s, f);
	if (rc < 0)
		return rc;
	rc = stream_shred(s.front, s.front_bytes, &from, &bytes, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", s.name);
	ssize_t put = pwrite(s.fd, s.front + from, bytes, (off_t)(s.begin + s.at + from));
	if (put != (ssize_t)bytes || fsync(s.fd) < 0) {
		rc = put < 0 || put == (ssize_t)bytes ? -errno : -EIO;
		return fault_set(f, rc, "%s: its key may still be there: %s", s.name, err_text(rc));
	}
	fprintf(stderr,
		"%s: its key is overwritten: nobody can open this file any more.\n"
		"Copies made before, snapshots of its filesystem, and blocks that the medium (SSD) "
		"has put elsewhere are not reached.\n",
		s.name);
	return 0;
}
