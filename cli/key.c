/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"

int cmd_key_new(int argc, char **argv, struct fault *f)
{
	CLEANUP_JWK struct jwk *k = NULL;
	char thumbprint[JWK_THUMBPRINT_SIZE];
	int rc = options_none(argc, argv, 1, "FILE", f);
	if (rc != 0)
		return rc;
	rc = jwk_new(&k, f);
	if (rc >= 0)
		rc = jwk_thumbprint(k, thumbprint);
	if (rc >= 0)
		rc = jwk_write_pair(k, argv[optind], f);
	if (rc < 0)
		return rc;
	const char *path = argv[optind];
	printf("Owner key %s\n"
	       "  %s      private: opens every VM shielded with it, and alone can change who may "
	       "run"
	       " them.\n"
	       "  %*s      Keep it, and a copy, away from the hosts; lost, it cannot be made "
	       "again.\n"
	       "  %s.pub  public: shows who the owner is; nothing to hide.\n",
	       thumbprint, path, (int)strlen(path), "", path);
	return 0;
}

/* The key in PATH, whichever half it is. */
static int read_either(const char *path, struct jwk **out, struct fault *f)
{
	struct fault as_public = { 0 };
	int rc = jwk_read_file(path, 1, out, f);
	if (rc >= 0 || jwk_read_file(path, 0, out, &as_public) < 0)
		return rc;
	f->text[0] = '\0';
	return 0;
}

int cmd_key_show(int argc, char **argv, struct fault *f)
{
	CLEANUP_JWK struct jwk *k = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	char thumbprint[JWK_THUMBPRINT_SIZE];
	int rc = options_none(argc, argv, 1, "FILE", f);
	if (rc != 0)
		return rc;
	rc = read_either(argv[optind], &k, f);
	if (rc >= 0)
		rc = jwk_thumbprint(k, thumbprint);
	if (rc >= 0)
		rc = jwk_public_text(k, &text);
	if (rc < 0)
		return rc;
	const char *json = buf_cstr(&text);
	if (!json)
		return -ENOMEM;
	printf("%s\n", json);
	fflush(stdout);
	fprintf(stderr, "thumbprint %s\n", thumbprint);
	return 0;
}
