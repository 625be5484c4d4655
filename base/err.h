/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors: one int, and one sentence for the person who has to act on it.
 *
 * A function that can fail returns an int: >= 0 is success, -1..-4095 is -errno, and below that a
 * value of enum err.  A function whose failure somebody must be told about also takes a `struct
 * fault *` and leaves there what was refused, why, and what to do.  Libraries return, programs
 * print: nothing below main() writes to stderr.
 *
 * May be used by: every layer, in every phase.  No allocation, no system call.
 */
#ifndef SHIELDVM_BASE_ERR_H
#define SHIELDVM_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define MUST_CHECK			  __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))

enum err {
	ERR_AUTH = -5000, /* a tag, signature or key commitment does not match */
	ERR_TRUNCATED,	  /* shorter than its own header says */
	ERR_TRAILING,	  /* longer than its own header says */
	ERR_FORMAT,	  /* not in the one valid encoding */
	ERR_VERSION,	  /* a format version or algorithm that this build does not know */
	ERR_PURPOSE,	  /* authentic format, but made for another purpose */
	ERR_VM,		  /* made for another VM */
	ERR_RECIPIENT,	  /* no recipient entry for the key at hand */
	ERR_POLICY,	  /* refused by a rule */
	ERR_STATE,	  /* not possible in the present state */
	ERR_LIMIT,	  /* over a named maximum */
	ERR_CRYPTO,	  /* the crypto library failed in a way that input does not explain */
	ERR_USAGE,	  /* wrong arguments */
	ERR_LAST
};

/* Exit codes of every program (docs/man/shieldvm.1, EXIT STATUS). */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1,     /* refused by a rule, or not authentic */
	EXIT_USAGE = 2,	      /* wrong arguments */
	EXIT_ENVIRONMENT = 3, /* missing device, permission, disk full ... */
};

#define FAULT_TEXT_MAX 768

/* What went wrong, in a sentence.  Truncated to FAULT_TEXT_MAX - 1 bytes, never holds a secret. */
struct fault {
	int rc;
	char text[FAULT_TEXT_MAX];
};

/* A short name for RC ("not authentic", "No such file or directory"); static storage, never NULL.
 */
const char *err_text(int rc);

/* The exit code that a program gives for RC (< 0). */
enum exit_code err_exit_code(int rc);

/* Put '?' for every byte of TEXT's N that a terminal may act on: control characters, those of
 * Unicode from U+0080 to U+009F too, and bytes that continue no character. */
void err_make_printable(char *text, size_t n);

/*
 * Record RC and a sentence in F, which may be NULL; what is in it that terminals act on is replaced
 * by '?'. The first sentence wins: a caller higher up that has nothing to add passes the fault on.
 * Returns RC, so that `return fault_set(f, -errno, ...)` reads well.  errno is left alone.
 */
int fault_set(struct fault *f, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * Put "WHAT: " before the sentence in F, or start one from RC's text if there is none.  Returns RC.
 */
int fault_wrap(struct fault *f, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
