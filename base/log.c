/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

static int log_fd = -1;
static const char *log_ident = "";
static enum log_level log_max_level = LOG_LEVEL_INFO;
static long log_pid;
static atomic_size_t log_written;

static const char *const LEVEL_NAMES[] = { "error", "warning", "info", "debug" };
_Static_assert(sizeof(LEVEL_NAMES) / sizeof(LEVEL_NAMES[0]) == LOG_LEVEL_DEBUG + 1,
	       "a name per level");

void log_open(int fd, const char *ident, enum log_level level)
{
	log_fd = fd;
	log_ident = ident;
	log_max_level = level;
	/* The host's name for this process, which getpid(2) does not tell in a PID namespace. */
	char self[16] = "";
	ssize_t n = readlink("/proc/self", self, sizeof(self) - 1);
	log_pid = n > 0 ? strtol(self, NULL, 10) : (long)getpid();
	/* The first gmtime_r() of a process reads /etc/localtime, which a sealed one cannot. */
	struct tm tm;
	gmtime_r(&(time_t){ 0 }, &tm);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char line[LOG_LINE_MAX];
	if (log_fd < 0 || level > log_max_level)
		return;

	struct timespec now = { 0 };
	struct tm tm = { 0 };
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%SZ", &tm);
	n += (size_t)snprintf(line + n, sizeof(line) - n, " %s %.64s[%ld]: ", LEVEL_NAMES[level],
			      log_ident, log_pid);

	va_list ap;
	va_start(ap, fmt);
	int text = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (text < 0)
		return;
	n += (size_t)text;
	if (n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	err_make_printable(line, n);
	line[n++] = '\n';

	size_t before = atomic_fetch_add(&log_written, n);
	if (before + n > LOG_TOTAL_MAX)
		return;
	/* A log that cannot be written must not stop a VM; audit records are another matter and
	 * another module. */
	ssize_t put = write(log_fd, line, n);
	(void)put;
	errno = saved_errno;
}
