/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/settle.h"

#include "worker/report.h"

int settle_record(const struct settle *s, enum audit_event event, const char *command,
		  const char *reason, struct fault *f)
{
	struct broker_audit m;
	if (s->link < 0)
		return 0;
	report_init(&m, event, AUDIT_BY_MONITOR, AUDIT_DONE, "", command, reason);
	int rc = report_send(s->link, &m);
	return rc < 0 ? fault_set(f, rc, "refused, as it cannot be put on record: %s", err_text(rc))
		      : 0;
}

int settle_ready(const struct settle *s)
{
	return !s->vtpm || vtpm_is_ready(s->vtpm);
}

int settle_here(const struct settle *s, struct fault *f)
{
	int rc = s->vtpm ? vtpm_commit(s->vtpm, 0, f) : 0;
	/* It may have moved away from here before. */
	return rc >= 0 && s->vtpm ? vtpm_set_moved(s->vtpm, 0, f) : rc;
}

int settle_arrived(const struct settle *s, struct fault *f)
{
	int rc = s->vtpm ? vtpm_commit(s->vtpm, 1, f) : 0;
	return rc >= 0 && s->vtpm ? vtpm_set_moved(s->vtpm, 1, f) : rc;
}

int settle_mark(const struct settle *s, struct fault *f)
{
	return s->vtpm ? vtpm_set_moved(s->vtpm, 1, f) : 0;
}

int settle_away(const struct settle *s, const char *command, const char *reason, struct fault *f)
{
	int rc = settle_mark(s, f);
	return rc < 0 ? rc : settle_record(s, AUDIT_MIGRATE, command, reason, f);
}

int settle_give(const struct settle *s, const char *command, const char *reason, struct fault *f)
{
	struct fault ignored = { 0 };
	int rc = settle_away(s, command, reason, f);
	if (rc < 0 && s->vtpm)
		(void)!vtpm_set_moved(s->vtpm, 0, &ignored);
	return rc;
}

void settle_pause(const struct settle *s, int pause)
{
	if (s->vtpm)
		vtpm_pause(s->vtpm, pause);
}

int settle_back(const struct settle *s, const char *command, const char *reason, struct fault *f)
{
	int rc = settle_record(s, AUDIT_MIGRATE, command, reason, f);
	return rc >= 0 && s->vtpm ? vtpm_set_moved(s->vtpm, 0, f) : rc;
}
