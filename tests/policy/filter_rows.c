/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints the system call tables as data, one row a line, for tests/policy/observe. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

/* WHOSE: the rows of another filter, which are that one's to use; the worker uses what it shares.
 */
static void print_rows(const char *name, const struct filter *filter, const char *whose)
{
	for (size_t i = 0; i < filter->n_rows; i++) {
		const struct filter_row *row = &filter->rows[i];
		char *call = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, row->syscall);
		printf("%s\t%d\t%s\t", name, row->syscall, call ? call : "?");
		for (size_t c = 0; c < FILTER_CONDITIONS_MAX && row->conditions[c].op; c++) {
			const struct filter_condition *cond = &row->conditions[c];
			int equal = cond->op == SCMP_CMP_EQ;
			/* Argument, mask, value. */
			printf("%s%u,%#" PRIx64 ",%#" PRIx64, c ? ";" : "", cond->arg,
			       equal ? UINT64_MAX : cond->a, equal ? cond->a : cond->b);
		}
		const char *rare = whose ? whose : row->rare ? row->rare : "";
		/* seccomp(2) comes before the tracing. */
		if (row->error)
			rare = "refused, which is not seen";
		printf("\t%s\t%s\n", row->reason, rare);
		free(call);
	}
	if (filter->also)
		print_rows(name, filter->also,
			   filter == &filter_worker ? NULL : filter->also->name);
}

int main(void)
{
	static const struct filter *const FILTERS[] = { &filter_worker, &filter_broker,
							&filter_guard, &filter_swtpm };
	for (size_t i = 0; i < sizeof(FILTERS) / sizeof(FILTERS[0]); i++)
		print_rows(FILTERS[i]->name, FILTERS[i], NULL);
	return 0;
}
