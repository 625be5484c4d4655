/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/swtpm_key.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/secret.h"

#define KEY_FILE_MAX 4096

int swtpm_key_given(const struct swtpm_key *k)
{
	return k->file || k->fd >= 0;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0;
}

int swtpm_key_parse(const uint8_t *text, size_t n, enum swtpm_key_format format, int wanted,
		    uint8_t out[static KEY_BYTES])
{
	if (format == KEY_HEX) {
		while (n && is_space(text[n - 1]))
			n--;
		if (n >= 2 && text[0] == '0' && text[1] == 'x') {
			text += 2;
			n -= 2;
		}
		for (size_t i = 0; i < n; i++)
			if (hex_digit(text[i]) < 0)
				return ERR_FORMAT;
		if (n % 2)
			return ERR_FORMAT;
		n /= 2;
	}
	if ((n != 16 && n != 32) || (wanted && n != (size_t)wanted))
		return ERR_FORMAT;
	for (size_t i = 0; i < n; i++)
		out[i] = format == KEY_BINARY ? text[i]
					      : (uint8_t)(hex_digit(text[2 * i]) << 4 |
							  hex_digit(text[2 * i + 1]));
	return (int)n;
}

/* The whole of a file or descriptor.  B's memory is wiped by its owner. */
static int read_secret(const char *option, const struct swtpm_key *k, struct buf *b,
		       struct fault *f)
{
	CLEANUP_FD int fd = k->file ? open(k->file, O_RDONLY | O_CLOEXEC | O_NOCTTY) : k->fd;
	int rc = fd < 0 ? -errno : fd_read_all(fd, b);
	if (rc < 0)
		return k->file ? fault_set(f, rc, "%s: the key file '%s' cannot be read: %s",
					   option, k->file, err_text(rc))
			       : fault_set(f, rc, "%s: descriptor %d cannot be read: %s", option,
					   k->fd, err_text(rc));
	if (k->file && k->remove && unlink(k->file) < 0)
		return fault_set(f, -errno, "%s: the key file '%s' cannot be removed: %s", option,
				 k->file, err_text(-errno));
	return 0;
}

int swtpm_key_read(const char *option, const struct swtpm_key *k,
		   const uint8_t vm[static UUID_BYTES], struct vm_key *key, struct fault *f)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KEY_FILE_MAX);
	uint8_t bytes[KEY_BYTES];
	int rc = read_secret(option, k, &b, f);
	if (rc < 0)
		return rc;
	if (k->is_passphrase) {
		size_t n = b.len;
		if (n && b.data[n - 1] == '\n')
			n--;
		if (n == 0)
			return fault_set(f, ERR_FORMAT, "%s: the passphrase is empty", option);
		rc = secret_to_key(SECRET_PASSPHRASE, b.data, n, vm, key);
	} else {
		rc = swtpm_key_parse(b.data, b.len, k->format, k->bytes, bytes);
		if (rc < 0)
			return fault_set(f, rc, "%s: not a key: wanted are %s%s", option,
					 k->bytes == 16	  ? "16 bytes"
					 : k->bytes == 32 ? "32 bytes"
							  : "16 or 32 bytes",
					 k->format == KEY_HEX ? " in hex digits"
							      : " (format=binary)");
		rc = secret_to_key(SECRET_KEY, bytes, (size_t)rc, vm, key);
		wipe(bytes, sizeof(bytes));
	}
	if (rc < 0)
		return fault_set(f, rc, "%s: no key can be derived: %s", option, err_text(rc));
	return 0;
}

int swtpm_key_public(const uint8_t vm[static UUID_BYTES], struct vm_key *key)
{
	static const char WORDS[] = "shieldvm-swtpm: no key was given";
	return secret_to_key(SECRET_KEY, (const uint8_t *)WORDS, sizeof(WORDS) - 1, vm, key);
}
