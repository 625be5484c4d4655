/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/paths.h"
#include "base/spawn.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "libvirt/control.h"

#define WORKERS_MAX 4096
#define LEVEL_TEXT(lvl)                                                                            \
	((lvl) == LEVEL_SHIELDED || (lvl) == LEVEL_ENCRYPTION_SUPPORTED                            \
		 ? level_name((enum shield_level)(lvl))                                            \
		 : "unknown")

struct worker {
	char uuid[UUID_TEXT_SIZE];
	int rc; /* < 0: it does not answer, and this is why */
	struct control_reply reply;
};

struct workers {
	size_t n;
	struct worker *rows; /* WORKERS_MAX */
};

static void workers_done(struct workers *w)
{
	free(w->rows);
}

static int by_name(const void *a, const void *b)
{
	const struct worker *x = a, *y = b;
	int order = strcmp(x->reply.name, y->reply.name);
	return order ? order : strcmp(x->uuid, y->uuid);
}

/* The workers of this host; with VM (a name or UUID, else NULL) only that one's. */
static int collect(const char *vm, struct workers *w, struct fault *f)
{
	DIR *dir = opendir(PATH_RUN);
	if (!dir && errno == ENOENT)
		return 0;
	if (!dir)
		return fault_set(f, -errno, PATH_RUN ": %s", err_text(-errno));
	w->rows = calloc(WORKERS_MAX, sizeof(*w->rows));
	int rc = w->rows ? 0 : -ENOMEM;
	for (struct dirent *e; rc >= 0 && (e = readdir(dir));) {
		uint8_t uuid[UUID_BYTES];
		if (uuid_parse(e->d_name, uuid) < 0)
			continue;
		if (w->n == WORKERS_MAX) {
			rc = fault_set(f, ERR_LIMIT, "more than %d workers", WORKERS_MAX);
			break;
		}
		struct worker *row = &w->rows[w->n];
		memset(row, 0, sizeof(*row));
		uuid_format(uuid, row->uuid);
		row->rc = control_ask(uuid, CONTROL_STATUS, &row->reply, NULL);
		cli_make_printable(row->reply.name);
		/* Nobody behind the socket: it is just starting, or it ended unasked. */
		if (row->rc == ERR_STATE)
			continue;
		if (row->rc == -EACCES || row->rc == -EPERM)
			rc = fault_set(f, row->rc,
				       "status: only root can ask the workers of this host");
		if (!vm || strcmp(vm, row->uuid) == 0 || strcmp(vm, row->reply.name) == 0)
			w->n++;
	}
	closedir(dir);
	if (rc >= 0 && w->n)
		qsort(w->rows, w->n, sizeof(w->rows[0]), by_name);
	return rc;
}

static void format_time(uint64_t seconds, char text[static 32])
{
	time_t t = (time_t)seconds;
	struct tm tm;
	if (!gmtime_r(&t, &tm) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(text, 32, "?");
}

/* {"held": [], "missing": [], "landlock_abi": N}, or NULL. */
static json_t *protections_json(const struct protections *p, enum protections_of of)
{
	json_t *held = json_array(), *missing = json_array();
	int rc = held && missing ? 0 : -ENOMEM;
	for (enum protection i = 0; rc >= 0 && i < PROTECTIONS_N; i++) {
		json_t *to = protections_have(p, i)	  ? held
			     : protections_miss(p, of, i) ? missing
							  : NULL;
		if (to && json_array_append_new(to, json_string(protection_name(i))) < 0)
			rc = -ENOMEM;
	}
	/* Both are taken over, also when that fails. */
	json_t *o = json_pack("{s:o,s:o,s:i}", "held", held, "missing", missing, "landlock_abi",
			      (int)p->landlock_abi);
	if (rc >= 0)
		return o;
	json_decref(o);
	return NULL;
}

static int print_json(const struct workers *w)
{
	json_t *list = json_array();
	int rc = list ? 0 : -ENOMEM;
	for (size_t i = 0; i < w->n && rc >= 0; i++) {
		const struct worker *row = &w->rows[i];
		const struct control_reply *r = &row->reply;
		char since[32];
		format_time(r->started_s, since);
		json_t *o = row->rc < 0
				    ? json_pack("{s:s,s:b,s:s}", "uuid", row->uuid, "answers", 0,
						"error", err_text(row->rc))
				    : json_pack("{s:s,s:s,s:b,s:s,s:b,s:s,s:i,s:i,s:i,s:I}", "uuid",
						row->uuid, "name", r->name, "answers", 1, "level",
						LEVEL_TEXT(r->level), "launched", r->launched != 0,
						"started", since, "worker_pid", (int)r->worker_pid,
						"broker_pid", (int)r->broker_pid, "qemu_pid",
						(int)r->qemu_pid, "worker_uid",
						(json_int_t)r->worker_uid);
		/* Of a worker that is not sealed yet nothing is known. */
		if (o && row->rc >= 0 && r->level &&
		    (json_object_set_new(o, "worker_protections",
					 protections_json(&r->worker, PROTECTIONS_OF_WORKER)) < 0 ||
		     json_object_set_new(o, "broker_protections",
					 protections_json(&r->broker, PROTECTIONS_OF_BROKER)) <
			     0)) {
			json_decref(o);
			o = NULL;
		}
		if (!o || json_array_append_new(list, o) < 0)
			rc = -ENOMEM;
	}
	if (rc >= 0)
		rc = json_dumpf(list, stdout, JSON_INDENT(2)) < 0 ? -EIO : 0;
	putchar('\n');
	json_decref(list);
	return rc;
}

static void print_missing(const struct protections *p, enum protections_of of, const char *whose)
{
	int n = 0;
	for (enum protection i = 0; i < PROTECTIONS_N; i++) {
		if (!protections_miss(p, of, i))
			continue;
		printf("%s%s", n++ ? ", " : "  ", protection_name(i));
	}
	if (n)
		printf(": missing around its %s on this host\n", whose);
}

static void print_table(const struct workers *w)
{
	if (w->n == 0) {
		puts("No worker is running on this host.");
		return;
	}
	printf("%-24s %-36s %-20s %-20s %8s %8s\n", "VM", "UUID", "LEVEL", "SINCE", "WORKER",
	       "QEMU");
	for (size_t i = 0; i < w->n; i++) {
		const struct worker *row = &w->rows[i];
		const struct control_reply *r = &row->reply;
		char since[32], qemu[16] = "-";
		if (row->rc < 0) {
			printf("%-24s %-36s does not answer: %s\n", "?", row->uuid,
			       err_text(row->rc));
			continue;
		}
		format_time(r->started_s, since);
		if (r->launched)
			snprintf(qemu, sizeof(qemu), "%d", (int)r->qemu_pid);
		printf("%-24s %-36s %-20s %-20s %8d %8s\n", r->name, row->uuid,
		       LEVEL_TEXT(r->level), since, (int)r->worker_pid, qemu);
		if (r->level) {
			print_missing(&r->worker, PROTECTIONS_OF_WORKER, "worker");
			print_missing(&r->broker, PROTECTIONS_OF_BROKER, "broker");
		}
	}
}

int cmd_status(int argc, char **argv, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	CLEANUP(workers_done) struct workers w = { 0 };
	int json = 0;
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		json = 1;
	}
	const char *vm = argc > optind ? argv[optind] : NULL;
	int rc = options_operands(argc, argv, vm ? 1 : 0, "", f);
	if (rc >= 0)
		rc = collect(vm, &w, f);
	if (rc >= 0 && vm && w.n == 0)
		return fault_set(f, ERR_STATE, "%s: no worker is running for this VM", vm);
	if (rc >= 0 && json)
		return print_json(&w);
	if (rc >= 0)
		print_table(&w);
	return rc;
}
