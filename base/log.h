/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The programs' log: one line per event, "TIME LEVEL ident[pid]: text", to a descriptor.
 *
 * Only programs (folders worker/, libvirt/, cli/ and later guardian/) call this; libraries return
 * errors.  Lines are bounded, control characters in them replaced, and a process writes at most
 * LOG_TOTAL_MAX bytes in its life, so that no peer can fill a disk.  No secret is ever an argument.
 * After sealing only write(2) and clock_gettime(2) are used.
 */
#ifndef SHIELDVM_BASE_LOG_H
#define SHIELDVM_BASE_LOG_H

#include "base/err.h"

#define LOG_LINE_MAX  1024
#define LOG_TOTAL_MAX (1024 * 1024)

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/*
 * Log to FD (not owned; -1 silences) under IDENT (static storage) from now on, up to and including
 * LEVEL. The time is written in UTC (RFC 3339).
 */
void log_open(int fd, const char *ident, enum log_level level);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
