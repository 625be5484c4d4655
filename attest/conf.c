/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/strict.h"

void conf_done(struct conf *c)
{
	free((void *)c->tcti);
	free((void *)c->eventlog);
	free((void *)c->ima);
	*c = (struct conf){ 0 };
}

/* The text NAME of O, or null. */
static int take(const json_t *o, const char *name, const char **out, const char *path,
		struct fault *f)
{
	const json_t *value = json_object_get(o, name);
	if (json_is_null(value))
		return 0;
	const char *text = strict_text(o, name);
	if (!text || !text[0] || strlen(text) > CONF_VALUE_MAX)
		return fault_set(f, ERR_FORMAT, "%s: \"%s\" is neither a text nor null", path,
				 name);
	*out = strdup(text);
	return *out ? 0 : fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
}

static int parse(const struct buf *text, const char *path, struct conf *out, struct fault *f)
{
	static const char *const MEMBERS[] = { "v", "mode", "tcti", "eventlog", "ima" };
	CLEANUP_JSON json_t *o = NULL;
	int rc = strict_json((const char *)text->data, text->len, path, &o, f);
	if (rc >= 0)
		rc = strict_members(o, path, MEMBERS, 5, f);
	if (rc < 0)
		return rc;
	const json_t *v = json_object_get(o, "v");
	const char *mode = strict_text(o, "mode");
	if (!json_is_integer(v) || json_integer_value(v) != 1)
		return fault_set(f, ERR_VERSION, "%s: of a version that is not known here", path);
	for (out->mode = HEALTHCERT_TPM;
	     !mode || strcmp(mode, healthcert_assurance_name(out->mode)) != 0; out->mode++)
		if (!mode || out->mode == HEALTHCERT_HOSTKEY)
			return fault_set(f, ERR_FORMAT, "%s: \"mode\" is not tpm or hostkey", path);
	rc = take(o, "tcti", &out->tcti, path, f);
	if (rc >= 0)
		rc = take(o, "eventlog", &out->eventlog, path, f);
	if (rc >= 0)
		rc = take(o, "ima", &out->ima, path, f);
	if (rc >= 0 &&
	    ((out->eventlog && out->eventlog[0] != '/') || (out->ima && out->ima[0] != '/')))
		rc = fault_set(f, ERR_FORMAT, "%s: a log without its whole path", path);
	return rc;
}

int conf_read(const char *path, struct conf *out, struct fault *f)
{
	struct stat st;
	CLEANUP_CONF struct conf c = { .mode = HEALTHCERT_TPM };
	CLEANUP_BUF struct buf text = BUF_INIT(CONF_TEXT_MAX);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno != ENOENT)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (fd >= 0) {
		if (fstat(fd, &st) < 0)
			return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
		if (!S_ISREG(st.st_mode))
			return fault_set(f, -EINVAL, "%s: not a regular file", path);
		if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022))
			return fault_set(f, ERR_POLICY,
					 "%s: it must be root's, and nobody else may write it",
					 path);
		int rc = fd_read_all(fd, &text);
		if (rc < 0)
			return fault_set(f, rc, "%s: %s", path, err_text(rc));
		rc = parse(&text, path, &c, f);
		if (rc < 0)
			return rc;
	}
	*out = c;
	c = (struct conf){ 0 };
	return 0;
}

int conf_write(const char *path, const struct conf *c, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(CONF_TEXT_MAX);
	const char *const values[] = { c->tcti, c->eventlog, c->ima };
	for (size_t i = 0; i < 3; i++)
		if (values[i] && strlen(values[i]) > CONF_VALUE_MAX)
			return fault_set(f, ERR_LIMIT, "%s: a text is too long", path);
	strict_init();
	CLEANUP_JSON json_t *o = json_pack("{s:i, s:s, s:s?, s:s?, s:s?}", "v", 1, "mode",
					   healthcert_assurance_name(c->mode), "tcti", c->tcti,
					   "eventlog", c->eventlog, "ima", c->ima);
	char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int rc = line ? buf_addf(&text, "%s\n", line) : ERR_FORMAT;
	free(line);
	return rc < 0 ? fault_set(f, rc, "%s: it cannot be written as JSON: %s", path, err_text(rc))
		      : fd_write_file(AT_FDCWD, path, text.data, text.len, 0644, 1, f);
}
