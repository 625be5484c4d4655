/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/buf.h"

#include <errno.h>
#include <stdio.h>

#define BUF_MIN_CAP 256

void buf_done(struct buf *b)
{
	if (!b)
		return;
	wipe_free(b->data, b->cap);
	*b = BUF_INIT(b->max);
}

int buf_reserve(struct buf *b, size_t n)
{
	if (n > b->max || b->len > b->max - n)
		return ERR_LIMIT;
	/* One byte more than asked, so that buf_cstr() never needs to grow. */
	size_t want = b->len + n + 1;
	if (want <= b->cap)
		return 0;

	size_t cap = b->cap ? b->cap : BUF_MIN_CAP;
	while (cap < want)
		cap = cap > b->max / 2 ? b->max + 1 : cap * 2;
	/* Not realloc(): it would leave the old bytes behind, unwiped. */
	uint8_t *data = malloc(cap);
	if (!data)
		return -ENOMEM;
	if (b->len)
		memcpy(data, b->data, b->len);
	wipe_free(b->data, b->cap);
	b->data = data;
	b->cap = cap;
	return 0;
}

int buf_add(struct buf *b, const void *src, size_t n)
{
	int rc = buf_reserve(b, n);
	if (rc < 0)
		return rc;
	if (n)
		memcpy(b->data + b->len, src, n);
	b->len += n;
	return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	int rc = buf_reserve(b, (size_t)n);
	if (rc < 0)
		return rc;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	wipe(b->data + b->len - n, n);
	b->len -= n;
}

void buf_clear(struct buf *b)
{
	if (b->data)
		wipe(b->data, b->len);
	b->len = 0;
}

char *buf_cstr(struct buf *b)
{
	if (buf_reserve(b, 0) < 0)
		return NULL;
	b->data[b->len] = '\0';
	return (char *)b->data;
}
