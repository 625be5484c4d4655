/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/cmdline.h"

#include <string.h>

#define PCR_GRUB 8
#define PCR_UKI	 11
#define PCR_STUB 12

/* Commands and kernel_cmdline as GRUB measures them: without a NUL, and without the log's label. */
static int is_measured(const struct measured *m, const struct event *e, const uint8_t *data,
		       size_t n)
{
	uint8_t digest[HASH_BYTES_MAX];
	return hash_data(m->pcrs->bank, data, n, digest) >= 0 &&
	       memcmp(digest, e->digest, hash_bytes(m->pcrs->bank)) == 0;
}

/* A control character would end or hide what a person reads. */
static int put_text(char *out, const uint8_t *data, size_t n, size_t step)
{
	size_t length = 0;
	for (size_t i = 0; i + step <= n; i += step) {
		if (length + 1 >= CMDLINE_BYTES_MAX)
			return ERR_LIMIT;
		int plain = data[i] >= 0x20 && data[i] < 0x7f && (step == 1 || data[i + 1] == 0);
		out[length++] = plain || data[i] == '\t' ? (char)data[i] : '?';
	}
	out[length] = '\0';
	return 0;
}

/* GRUB's data is "LABEL: TEXT" and a NUL; its digest is TEXT's. */
static int grub_text(const struct measured *m, const struct event *e, char *out)
{
	size_t n = e->data_bytes;
	const uint8_t *text = e->data;
	if (n > 0 && text[n - 1] == '\0')
		n--;
	if (is_measured(m, e, text, n))
		return put_text(out, text, n, 1);
	for (size_t i = 0; i + 1 < n; i++) {
		if (text[i] == ':' && text[i + 1] == ' ')
			return is_measured(m, e, text + i + 2, n - i - 2)
				       ? put_text(out, text + i + 2, n - i - 2, 1)
				       : ERR_AUTH;
	}
	return ERR_AUTH;
}

/* systemd-stub measures UTF-16 with its NUL; newer ones put tag and size in front of it in the
 * log. */
static int stub_text(const struct measured *m, const struct event *e, char *out)
{
	const uint8_t *text = e->data;
	size_t n = e->data_bytes;
	if (!is_measured(m, e, text, n)) {
		if (n < 8)
			return ERR_AUTH;
		text += 8;
		n -= 8;
		if (!is_measured(m, e, text, n))
			return ERR_AUTH;
	}
	if (n % 2 || n < 2 || text[n - 1] || text[n - 2])
		return ERR_FORMAT;
	return put_text(out, text, n - 2, 2);
}

/* GRUB measures the kernel's command line from its path on, and the command that loads it. */
static int is_kernels(const char *text)
{
	return text[0] == '/' || text[0] == '(' || strncmp(text, "linux", 5) == 0;
}

static int read_pcr(const struct measured *m, unsigned pcr, struct cmdline *c)
{
	size_t events = 0;
	for (size_t i = 0; i < eventlog_count(m->log); i++) {
		const struct event *e = eventlog_event(m->log, i);
		if (e->pcr != pcr || e->type == EV_NO_ACTION)
			continue;
		events++;
		if (c->n == CMDLINE_TEXTS_MAX) {
			c->why = "more command lines were measured than are read";
			return ERR_LIMIT;
		}
		char *out = c->text[c->n];
		int rc = pcr == PCR_GRUB ? grub_text(m, e, out) : stub_text(m, e, out);
		if (rc < 0) {
			c->why = pcr == PCR_GRUB
					 ? "an event in PCR 8 has a text that was not measured"
					 : "an event in PCR 12 has a text that was not measured";
			return rc;
		}
		c->n += pcr != PCR_GRUB || is_kernels(out);
	}
	return events > 0;
}

/* A unified kernel image has a command line of its own, of which the log has the digest only. */
static int image_has_one(const struct measured *m)
{
	static const char SECTION[] = ".cmdline"; /* with the NUL */
	for (size_t i = 0; i < eventlog_count(m->log); i++) {
		const struct event *e = eventlog_event(m->log, i);
		if (e->pcr == PCR_UKI && e->type != EV_NO_ACTION &&
		    is_measured(m, e, (const uint8_t *)SECTION, sizeof(SECTION)))
			return 1;
	}
	return 0;
}

/* A kernel that was loaded with kexec may be the one that runs: a demand must hold for it too. */
static int add_kexec(const struct measured *m, struct cmdline *c)
{
	static const char NAME[] = "kexec-cmdline";
	for (size_t i = 0; m->ima && i < ima_count(m->ima); i++) {
		const struct ima_entry *e = ima_at(m->ima, i);
		if (!e->buffer || e->name_bytes != strlen(NAME) ||
		    memcmp(e->name, NAME, e->name_bytes) != 0)
			continue;
		if (c->n == CMDLINE_TEXTS_MAX ||
		    put_text(c->text[c->n], e->buffer, e->buffer_bytes, 1) < 0) {
			c->why = "IMA has more command lines of kexec, or longer ones, than are "
				 "read";
			return ERR_LIMIT;
		}
		c->n++;
	}
	return 0;
}

void cmdline_find(const struct measured *m, struct cmdline *out)
{
	const uint32_t needed = 1U << PCR_GRUB | 1U << PCR_UKI | 1U << PCR_STUB;
	out->n = 0;
	out->pcr = 0;
	out->why = "no boot loader has measured the kernel's command line";
	if (!m->log || (m->proven & needed) != needed) {
		out->why = "the event log does not replay to PCRs 8, 11 and 12";
		return;
	}
	if (image_has_one(m)) {
		out->why = "of a unified kernel image's command line the log has the digest only;"
			   " a baseline can hold it (PCR 11)";
		return;
	}
	int grub = read_pcr(m, PCR_GRUB, out);
	size_t of_grub = out->n;
	int stub = grub < 0 ? grub : read_pcr(m, PCR_STUB, out);
	out->pcr = of_grub ? PCR_GRUB : PCR_STUB;
	if (grub < 0 || stub < 0 || (out->n && add_kexec(m, out) < 0))
		out->n = 0;
}

static int same_name(const char *word, const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char a = word[i] == '-' ? '_' : word[i], b = name[i] == '-' ? '_' : name[i];
		if (a != b)
			return 0;
	}
	return 1;
}

/* The end of the word at P: a blank that does not stand between double quotes. */
static const char *word_end(const char *p)
{
	int quoted = 0;
	for (; *p && (quoted || (*p != ' ' && *p != '\t')); p++)
		quoted ^= *p == '"';
	return p;
}

const char *cmdline_value(const struct cmdline *c, size_t i, const char *name, char *value,
			  size_t size)
{
	const char *found = NULL;
	size_t n = strlen(name);
	for (const char *p = c->text[i], *end; *p; p = end) {
		while (*p == ' ' || *p == '\t')
			p++;
		/* The kernel takes a whole quoted word as well. */
		end = word_end(p);
		size_t quote = *p == '"', length = (size_t)(end - p);
		/* Behind "--" is what init gets. */
		if (length == 2 && memcmp(p, "--", 2) == 0)
			break;
		if (length < n + quote || !same_name(p + quote, name, n))
			continue;
		const char *rest = p + quote + n;
		if (rest != end && *rest != '=' && !(quote && *rest == '"'))
			continue;
		size_t out = 0;
		for (rest += rest != end && *rest == '='; rest < end && out + 1 < size; rest++) {
			if (*rest != '"')
				value[out++] = *rest;
		}
		value[out] = '\0';
		found = value;
	}
	return found;
}
