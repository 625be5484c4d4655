/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `shieldvm state inspect`: what a file says of itself, for those who have no key too.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/state.h"
#include "cli/statekeys.h"

/* What is known of a file, from itself or (AUTHENTIC) by a key. */
struct findings {
	const struct statefile *s;
	int authentic;
	char name[256]; /* the domain's, or "" */
	char domain_uuid[UUID_TEXT_SIZE];
	char vm[UUID_TEXT_SIZE];
	const char *level;			/* NULL: unknown */
	char tpm[TPM_TEXT_SIZE];		/* "": unknown */
	char owner[JWK_THUMBPRINT_SIZE];	/* as the protector in it says; "" */
	char protector_trouble[FAULT_TEXT_MAX]; /* why it says nothing; "" */
};

static void take_facts(struct findings *x, const uint8_t *tpm_id, enum shield_level level)
{
	x->level = level_name(level);
	state_tpm_text(tpm_id, x->tpm);
}

static void look_at_domain(struct findings *x)
{
	struct fault why = { 0 };
	uint8_t uuid[UUID_BYTES];
	const struct domain *d = x->s->domain;
	CLEANUP_PROTECTOR struct protector *p = statekeys_claimed(x->s, &why);
	if (d) {
		snprintf(x->name, sizeof(x->name), "%s", domain_name(d));
		cli_make_printable(x->name);
		if (domain_uuid(d, uuid) >= 0)
			uuid_format(uuid, x->domain_uuid);
	}
	if (!p) {
		snprintf(x->protector_trouble, sizeof(x->protector_trouble), "%s", why.text);
	} else {
		take_facts(x, protector_facts(p)->tpm_id, protector_facts(p)->level);
		if (jwk_thumbprint(protector_owner(p), x->owner) < 0)
			x->owner[0] = '\0';
	}
}

/* Authenticate the header, and take its facts from there. */
static int look_with_key(struct findings *x, const struct state_options *o, struct fault *f)
{
	CLEANUP_STATEKEYS struct statekeys k = { 0 };
	CLEANUP_STREAM struct stream *stream = NULL;
	const struct statefile *s = x->s;
	int rc = statefile_check_raw(s, f);
	if (rc >= 0)
		rc = statekeys_open(&k, s, o->key, o->protector, f);
	if (rc < 0)
		return rc;
	rc = stream_open(k.keys, s->claims.purpose, s->front, s->front_bytes, &stream, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", s->name);
	take_facts(x, stream_facts(stream)->tpm_id, stream_facts(stream)->level);
	x->authentic = 1;
	return 0;
}

static void collect(struct findings *x)
{
	const struct statefile *s = x->s;
	if (s->has_image)
		look_at_domain(x);
	if (!s->sealed)
		return;
	uuid_format(s->claims.vm, x->vm);
	if (s->claims.recipient[0])
		take_facts(x, s->claims.tpm_id, s->claims.level);
}

/* ---- Text ----------------------------------------------------------------------------------- */

static void print_image(const struct findings *x)
{
	const struct image *i = &x->s->image;
	printf("  domain       %s%s%s%s\n", x->name[0] ? x->name : "(no name)",
	       x->domain_uuid[0] ? " (" : "", x->domain_uuid, x->domain_uuid[0] ? ")" : "");
	printf("  was          %s\n", i->was_running ? "running" : "paused");
	printf("  finished     %s\n",
	       i->complete ? "yes"
			   : "no: libvirt did not see the end of it and does not restore it");
	if (i->format != IMAGE_RAW)
		printf("  compressed   by libvirt, with %s\n", image_format_name(i->format));
	if (x->owner[0])
		printf("  owner        %s\n", x->owner);
	else
		printf("  protector    none that is of use: %s\n", x->protector_trouble);
}

static void print_stream(const struct findings *x)
{
	const struct statefile *s = x->s;
	const struct stream_claims *c = &s->claims;
	char bytes[BYTES_TEXT_SIZE];
	printf("sealed %s, from byte %llu on", state_kind(s), (unsigned long long)s->at);
	if (s->is_regular) {
		bytes_text(s->bytes - s->at, bytes);
		printf(", %llu bytes (%s)", (unsigned long long)(s->bytes - s->at), bytes);
	}
	printf("\n  VM           %s\n", x->vm);
	if (x->level)
		printf("  level        %s\n  vTPM         %s\n", x->level, x->tpm);
	if (c->shredded) {
		puts("  key          shredded: nobody can open it any more");
		return;
	}
	if (c->recipient[0])
		printf("  sealed for   %s\n", c->recipient);
	printf("  records      of %zu bytes\n", c->record_bytes);
	printf("  compression  %s\n", stream_compression_name(c->compression));
}

static void print_text(const struct findings *x)
{
	const struct statefile *s = x->s;
	printf("%s: %s\n", s->name,
	       s->has_image ? "a VM that libvirt saved" : "a stream without libvirt's header");
	if (s->has_image)
		print_image(x);
	if (s->sealed)
		print_stream(x);
	else
		puts("Its state cannot be looked at: see shieldvm state verify.");
	if (!x->authentic)
		puts("Nothing of this is authenticated: whoever could write the file can have made "
		     "it up.");
	else if (s->claims.purpose == KEY_USE_DUMP)
		puts("VM, level, vTPM and key belong together. Who made the dump is not proven, "
		     "and its records are not verified.");
	else
		puts("VM, level, vTPM and key are authentic; libvirt's header is not, and the "
		     "records are not verified.");
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static const char *or_null(const char *text)
{
	return text && text[0] ? text : NULL;
}

static json_t *image_json(const struct findings *x)
{
	const struct image *i = &x->s->image;
	return json_pack("{s:o,s:s?,s:b,s:b,s:s,s:s?}", "name", state_json_text(x->name), "uuid",
			 or_null(x->domain_uuid), "complete", i->complete, "was_running",
			 i->was_running, "compression", image_format_name(i->format), "owner",
			 or_null(x->owner));
}

static json_t *stream_json(const struct findings *x)
{
	const struct statefile *s = x->s;
	const struct stream_claims *c = &s->claims;
	json_t *o =
		json_pack("{s:s,s:s,s:s?,s:s?,s:b,s:s?,s:I}", "kind",
			  c->purpose == KEY_USE_DUMP ? "dump" : "saved-state", "vm", x->vm, "level",
			  or_null(x->level), "tpm", or_null(x->tpm), "shredded", c->shredded,
			  "recipient", or_null(c->recipient), "offset", (json_int_t)s->at);
	json_t *record = c->shredded ? json_null() : json_integer((json_int_t)c->record_bytes);
	json_t *bytes = s->is_regular ? json_integer((json_int_t)(s->bytes - s->at)) : json_null();
	json_t *compression =
		c->shredded ? json_null() : json_string(stream_compression_name(c->compression));
	int bad = json_object_set_new(o, "record_bytes", record) < 0;
	bad |= json_object_set_new(o, "compression", compression) < 0;
	bad |= json_object_set_new(o, "bytes", bytes) < 0;
	if (bad) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static int print_json(const struct findings *x)
{
	const struct statefile *s = x->s;
	json_t *image = s->has_image ? image_json(x) : json_null();
	json_t *stream = s->sealed ? stream_json(x) : json_null();
	json_t *o = image && stream ? json_pack("{s:O,s:O,s:b}", "image", image, "stream", stream,
						"authentic", x->authentic)
				    : NULL;
	int rc = o ? 0 : -ENOMEM;
	if (rc >= 0)
		rc = json_dumpf(o, stdout, JSON_INDENT(2)) < 0 ? -EIO : 0;
	if (rc >= 0)
		putchar('\n');
	json_decref(o);
	json_decref(image);
	json_decref(stream);
	return rc;
}

int cmd_state_inspect(int argc, char **argv, struct fault *f)
{
	CLEANUP_STATEFILE struct statefile s = { .fd = -1 };
	struct state_options o;
	struct findings x = { .s = &s };
	int rc = state_options(argc, argv, "kpj", &o, f);
	if (rc != 0)
		return rc;
	rc = statefile_open(&s, o.file, 0, f);
	if (rc < 0)
		return rc;
	collect(&x);
	if (o.key || o.protector)
		rc = look_with_key(&x, &o, f);
	if (rc < 0)
		return rc;
	if (o.json)
		return print_json(&x);
	print_text(&x);
	return 0;
}
