/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define SHOW_EVERY_MS 200
#define RATE_AFTER_MS 500 /* earlier a rate says nothing yet */

void bytes_text(uint64_t bytes, char text[static BYTES_TEXT_SIZE])
{
	static const char *const UNITS[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double amount = (double)bytes;
	size_t unit = 0;
	/* Half a unit's last shown digit below 1024 would be shown as 1024.0. */
	while (amount >= 1023.95 && unit + 1 < sizeof(UNITS) / sizeof(UNITS[0])) {
		amount /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(text, BYTES_TEXT_SIZE, "%" PRIu64 " %s", bytes,
			 bytes == 1 ? "byte" : UNITS[0]);
	else
		snprintf(text, BYTES_TEXT_SIZE, "%.1f %s", amount, UNITS[unit]);
}

/* What is too large is the largest: C leaves that conversion undefined. */
static uint64_t whole(double x)
{
	return x < 1e19 ? (uint64_t)x : UINT64_MAX;
}

static void time_text(uint64_t seconds, char text[static 32])
{
	if (seconds < 100)
		snprintf(text, 32, "%" PRIu64 " s", seconds);
	else if (seconds < 100 * 60)
		snprintf(text, 32, "%" PRIu64 " min", (seconds + 30) / 60);
	else
		snprintf(text, 32, "%" PRIu64 " h", (seconds + 1800) / 3600);
}

void progress_text(uint64_t done, uint64_t total, int64_t elapsed_ms,
		   char text[static PROGRESS_TEXT_MAX])
{
	char have[BYTES_TEXT_SIZE], all[BYTES_TEXT_SIZE], rate[BYTES_TEXT_SIZE], left[32];
	size_t n;
	bytes_text(done, have);
	if (total) {
		bytes_text(total, all);
		/* A file that grows meanwhile is not more than whole. */
		double share = done < total ? (double)done / (double)total : 1;
		n = (size_t)snprintf(text, PROGRESS_TEXT_MAX, "%3d %%  %s of %s",
				     (int)(share * 100), have, all);
	} else {
		n = (size_t)snprintf(text, PROGRESS_TEXT_MAX, "%s", have);
	}
	if (elapsed_ms < RATE_AFTER_MS || done == 0 || n >= PROGRESS_TEXT_MAX)
		return;
	double per_ms = (double)done / (double)elapsed_ms;
	bytes_text(whole(per_ms * 1000), rate);
	n += (size_t)snprintf(text + n, PROGRESS_TEXT_MAX - n, "  %s/s", rate);
	if (!total || done > total || n >= PROGRESS_TEXT_MAX)
		return;
	time_text(whole((double)(total - done) / per_ms / 1000 + 0.5), left);
	snprintf(text + n, PROGRESS_TEXT_MAX - n, "  %s left", left);
}

void progress_begin(struct progress *p, uint64_t total)
{
	*p = (struct progress){ .on = isatty(STDERR_FILENO),
				.total = total,
				.began_ms = clock_ms() };
	p->last_ms = p->began_ms;
}

void progress_show(struct progress *p, uint64_t done)
{
	char text[PROGRESS_TEXT_MAX];
	int64_t now = clock_ms();
	if (!p->on || now - p->last_ms < SHOW_EVERY_MS)
		return;
	p->last_ms = now;
	p->shown = 1;
	progress_text(done, p->total, now - p->began_ms, text);
	fprintf(stderr, "\r%s\033[K", text);
	fflush(stderr);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = 0;
}
