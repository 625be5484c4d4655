/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const ERR_NAMES[] = {
	"not authentic",       "truncated",
	"trailing bytes",      "malformed",
	"unknown version",     "made for another purpose",
	"made for another VM", "not a recipient",
	"refused by policy",   "not possible in this state",
	"over the limit",      "crypto library failure",
	"wrong arguments",
};
_Static_assert(sizeof(ERR_NAMES) / sizeof(ERR_NAMES[0]) == ERR_LAST - ERR_AUTH,
	       "a name per enum err");

const char *err_text(int rc)
{
	if (rc >= ERR_AUTH && rc < ERR_LAST)
		return ERR_NAMES[rc - ERR_AUTH];
	if (rc >= 0)
		return "success";
	if (rc < -4095)
		return "unknown error";
	const char *text = strerrordesc_np(-rc);
	return text ? text : "unknown error";
}

enum exit_code err_exit_code(int rc)
{
	if (rc >= 0)
		return EXIT_DONE;
	if (rc == ERR_USAGE)
		return EXIT_USAGE;
	if (rc >= ERR_AUTH && rc < ERR_LAST && rc != ERR_CRYPTO)
		return EXIT_REFUSED;
	return EXIT_ENVIRONMENT;
}

void err_make_printable(char *text, size_t n)
{
	unsigned lead = 0, left = 0; /* of the character that we are in */
	for (size_t i = 0; i < n; i++) {
		unsigned c = (unsigned char)text[i];
		if (c >= 0xc0) {
			lead = c;
			left = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
			continue;
		}
		int stray = c >= 0x80 && left == 0, c1 = c >= 0x80 && c < 0xa0 && lead == 0xc2;
		if (c1)
			text[i - 1] = '?';
		if (c < 0x20 || c == 0x7f || stray || c1)
			text[i] = '?';
		left = c >= 0x80 && left > 0 ? left - 1 : 0;
		lead = 0;
	}
}

/* A sentence goes to terminals, libvirt's error texts and logs: no byte of it may act there. */
static void make_printable(char *text)
{
	err_make_printable(text, strlen(text));
}

int fault_set(struct fault *f, int rc, const char *fmt, ...)
{
	if (!f || f->text[0])
		return rc;
	int saved_errno = errno;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	make_printable(f->text);
	f->rc = rc;
	errno = saved_errno;
	return rc;
}

int fault_wrap(struct fault *f, int rc, const char *fmt, ...)
{
	if (!f)
		return rc;
	int saved_errno = errno;
	char inner[FAULT_TEXT_MAX];
	snprintf(inner, sizeof(inner), "%s", f->text[0] ? f->text : err_text(rc));
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(f->text))
		snprintf(f->text + n, sizeof(f->text) - (size_t)n, ": %s", inner);
	make_printable(f->text);
	f->rc = rc;
	errno = saved_errno;
	return rc;
}
