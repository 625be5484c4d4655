/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/filter.h"

#include <errno.h>

#include "base/wipe.h"

static void cleanup_ctx(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static int add_rows(scmp_filter_ctx ctx, const struct filter *filter, struct fault *f)
{
	for (size_t i = 0; i < filter->n_rows; i++) {
		const struct filter_row *row = &filter->rows[i];
		struct scmp_arg_cmp args[FILTER_CONDITIONS_MAX] = { 0 };
		unsigned int n = 0;
		for (; n < FILTER_CONDITIONS_MAX && row->conditions[n].op != 0; n++)
			args[n] =
				(struct scmp_arg_cmp){ row->conditions[n].arg,
						       row->conditions[n].op, row->conditions[n].a,
						       row->conditions[n].b };
		uint32_t action =
			row->error ? SCMP_ACT_ERRNO((uint32_t)row->error) : SCMP_ACT_ALLOW;
		/* _exact: a condition that this architecture cannot express is an error. */
		int rc = seccomp_rule_add_exact_array(ctx, action, row->syscall, n, args);
		if (rc < 0)
			return fault_set(f, rc, "%s: row %zu (%s) makes no filter: %s",
					 filter->name, i, row->reason, err_text(rc));
	}
	return filter->also ? add_rows(ctx, filter->also, f) : 0;
}

static int build(const struct filter *filter, uint32_t otherwise, scmp_filter_ctx *out,
		 struct fault *f)
{
	scmp_filter_ctx ctx CLEANUP(cleanup_ctx) = seccomp_init(otherwise);
	if (!ctx)
		return fault_set(f, -ENOMEM, "%s: no filter: out of memory", filter->name);
	/* Another architecture's numbers mean other calls: they kill too. */
	int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* Threads that exist already get the filter in the same step, or none does. */
	if (rc == 0)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (rc == 0)
		rc = add_rows(ctx, filter, f);
	if (rc < 0)
		return fault_set(f, rc, "%s: no filter: %s", filter->name, err_text(rc));
	*out = ctx;
	ctx = NULL;
	return 0;
}

static int load(const struct filter *filter, uint32_t otherwise, struct fault *f)
{
	scmp_filter_ctx ctx CLEANUP(cleanup_ctx) = NULL;
	int rc = build(filter, otherwise, &ctx, f);
	if (rc < 0)
		return rc;
	rc = seccomp_load(ctx);
	if (rc < 0)
		return fault_set(f, rc, "%s: the kernel does not take the filter: %s", filter->name,
				 err_text(rc));
	return 0;
}

int filter_load(const struct filter *filter, struct fault *f)
{
	return load(filter, SCMP_ACT_KILL_PROCESS, f);
}

int filter_load_logging(const struct filter *filter, struct fault *f)
{
	return load(filter, SCMP_ACT_LOG, f);
}

int filter_export(const struct filter *filter, int fd, struct fault *f)
{
	scmp_filter_ctx ctx CLEANUP(cleanup_ctx) = NULL;
	int rc = build(filter, SCMP_ACT_KILL_PROCESS, &ctx, f);
	if (rc < 0)
		return rc;
	rc = seccomp_export_bpf(ctx, fd);
	if (rc < 0)
		return fault_set(f, rc, "%s: no export: %s", filter->name, err_text(rc));
	return 0;
}
