/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UUIDs in the one spelling libvirt writes: 36 lower-case characters with hyphens (RFC 9562,
 * section 4).
 *
 * May be used by: every layer, in every phase.
 */
#ifndef SHIELDVM_BASE_UUID_H
#define SHIELDVM_BASE_UUID_H

#include <stdint.h>

#include "base/err.h"

#define UUID_BYTES     16
#define UUID_TEXT_SIZE 37 /* with the NUL */

/*
 * Parse TEXT, which must be a whole UUID and nothing else; upper-case digits are taken too.  0, or
 * ERR_FORMAT with UUID untouched.
 */
int uuid_parse(const char *text, uint8_t uuid[static UUID_BYTES]) MUST_CHECK;

/* Write UUID as text with its NUL. */
void uuid_format(const uint8_t uuid[static UUID_BYTES], char text[static UUID_TEXT_SIZE]);

#endif
