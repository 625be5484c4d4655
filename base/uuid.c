/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/uuid.h"

#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int is_hyphen_place(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

int uuid_parse(const char *text, uint8_t uuid[static UUID_BYTES])
{
	uint8_t out[UUID_BYTES];
	size_t n = 0;
	if (strnlen(text, UUID_TEXT_SIZE) != UUID_TEXT_SIZE - 1)
		return ERR_FORMAT;
	for (size_t i = 0; i < UUID_TEXT_SIZE - 1;) {
		if (is_hyphen_place(i)) {
			if (text[i] != '-')
				return ERR_FORMAT;
			i++;
			continue;
		}
		int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
		if (high < 0 || low < 0)
			return ERR_FORMAT;
		out[n++] = (uint8_t)(high * 16 + low);
		i += 2;
	}
	memcpy(uuid, out, UUID_BYTES);
	return 0;
}

void uuid_format(const uint8_t uuid[static UUID_BYTES], char text[static UUID_TEXT_SIZE])
{
	static const char HEX[] = "0123456789abcdef";
	size_t n = 0;
	for (size_t i = 0; i < UUID_BYTES; i++) {
		if (is_hyphen_place(n))
			text[n++] = '-';
		text[n++] = HEX[uuid[i] >> 4];
		text[n++] = HEX[uuid[i] & 15];
	}
	text[n] = '\0';
}
