/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines as libvirt's and as QEMU's.  First byte: the level.  What is scanned must lie inside the
 * line; what is parsed and judged must be written as a line that is parsed and judged the same.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/qmp_rules.h"
#include "worker/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const struct qmp_text *t, const char *line, size_t n)
{
	if (t->at < line || t->at + t->n > line + n)
		abort();
}

static void again(const struct qmp_request *r, const struct protector_facts *facts,
		  const struct qmp_rule *rule)
{
	CLEANUP_BUF struct buf text = BUF_INIT(16 * QMP_REQUEST_MAX);
	struct qmp_request second;
	if (buf_addf(&text, "{\"execute\":\"%s\"", r->command) < 0)
		abort();
	if (r->arguments &&
	    (buf_addf(&text, ",\"arguments\":") < 0 || qmp_put_json(&text, r->arguments) < 0))
		abort();
	if (buf_addf(&text, "}") < 0)
		abort();
	if (memchr(text.data, '\n', text.len) ||
	    qmp_parse_request((const char *)text.data, text.len, &second) < 0)
		abort();
	if (strcmp(second.command, r->command) != 0 ||
	    (r->arguments && !json_equal(r->arguments, second.arguments)) ||
	    qmp_rules_judge(second.command, second.arguments, facts) != rule)
		abort();
	qmp_request_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmp_line line;
	struct qmp_request r;
	if (size == 0)
		return 0;
	const struct protector_facts facts = { .level = data[0] & 1 ? LEVEL_ENCRYPTION_SUPPORTED
								    : LEVEL_SHIELDED,
					       .n_allow = 1,
					       .allow = { "agent.channel" } };
	/* Of the exact size, so that reading past it is seen. */
	size_t n = size - 1;
	char *text = malloc(n ? n : 1);
	if (!text)
		return 0;
	memcpy(text, data + 1, n);
	int scanned = qmp_scan(text, n, &line);
	for (size_t i = 0; scanned == 0 && i < line.n_members; i++) {
		inside(&line.members[i].name, text, n);
		inside(&line.members[i].value, text, n);
	}
	int rc = qmp_parse_request(text, n, &r);
	if (rc == 0 && scanned < 0)
		abort();
	if (rc == 0)
		again(&r, &facts, qmp_rules_judge(r.command, r.arguments, &facts));
	qmp_request_done(&r);
	free(text);
	return 0;
}
