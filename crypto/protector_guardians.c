/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What version 2 of a protector has besides: the guardians among its recipients, and what the owner
 * demands of the hosts that they release the key to.  All of it is under the owner's signature.
 */
#include <errno.h>

#include "crypto/protector_form.h"

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))

#define URL_SCHEME    "https://"
#define URL_PIN_BYTES 32

_Static_assert(PROTECTOR_URLS_MAX *(PROTECTOR_URL_MAX + 1) <= PROTECTOR_URLS_SIZE,
	       "as many addresses as there may be fit");

size_t protector_n_guardians(const struct protector *p)
{
	return p->n_guardians;
}

const struct protector_guardian *protector_guardian(const struct protector *p, size_t i)
{
	return i < p->n_guardians ? &p->guardians[i] : NULL;
}

/*
 * The N characters of URL are https://HOST:PORT#THUMBPRINT, as far as this layer looks: no
 * character with which HOST and PORT could be more than those, and a whole thumbprint.
 */
static int url_valid(const char *url, size_t n)
{
	static const char IN_ADDRESS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789.:-[]";
	uint8_t pin[URL_PIN_BYTES];
	size_t scheme = strlen(URL_SCHEME), pin_chars = JWK_THUMBPRINT_SIZE - 1;
	if (n > PROTECTOR_URL_MAX || strncmp(url, URL_SCHEME, scheme) != 0)
		return 0;
	size_t address = strspn(url + scheme, IN_ADDRESS);
	if (address == 0 || scheme + address + 1 + pin_chars != n || url[scheme + address] != '#')
		return 0;
	return strict_b64(url + n - pin_chars, pin_chars, pin, sizeof(pin)) >= 0;
}

static int take_urls(const json_t *o, struct protector_guardian *g, struct fault *f)
{
	const json_t *urls = json_object_get(o, "urls");
	size_t n = json_array_size(urls), len = 0;
	if (n > PROTECTOR_URLS_MAX)
		return fault_set(f, ERR_LIMIT, "a guardian has %zu addresses, %d is the most", n,
				 PROTECTOR_URLS_MAX);
	if (n == 0)
		return fault_set(f, ERR_FORMAT,
				 "a guardian's \"urls\" is not an array of addresses");
	for (size_t i = 0; i < n; i++) {
		const json_t *text = json_array_get(urls, i);
		const char *url = json_string_value(text);
		size_t url_n = json_string_length(text);
		if (!url || !url_valid(url, url_n))
			return fault_set(f, ERR_FORMAT,
					 "a guardian's address number %zu is not "
					 "https://HOST:PORT#THUMBPRINT",
					 i + 1);
		for (size_t j = 0; j < i; j++) {
			if (json_equal(text, json_array_get(urls, j)))
				return fault_set(f, ERR_FORMAT,
						 "a guardian's address %s is there twice", url);
		}
		if (i > 0)
			g->urls[len++] = ',';
		memcpy(g->urls + len, url, url_n + 1);
		len += url_n;
	}
	return 0;
}

/* KID is a recipient of P, and not its owner. */
static int is_other_recipient(const struct protector *p, const char *kid)
{
	for (size_t i = 0; i < p->n_entries; i++) {
		if (strcmp(p->entries[i].thumbprint, kid) == 0)
			return !jwk_same(p->entries[i].key, p->owner);
	}
	return 0;
}

static int take_guardian(const json_t *o, struct protector *p, struct fault *f)
{
	static const char *const NAMES[] = { "kid", "urls" };
	struct protector_guardian *g = &p->guardians[p->n_guardians];
	int rc = strict_members(o, "a guardian", NAMES, COUNT(NAMES), f);
	if (rc < 0)
		return rc;
	const char *kid = strict_text(o, "kid");
	if (!kid || !is_other_recipient(p, kid))
		return fault_set(f, ERR_FORMAT,
				 "a guardian's \"kid\" names none of the protector's recipients "
				 "besides its owner");
	for (size_t i = 0; i < p->n_guardians; i++) {
		if (strcmp(p->guardians[i].thumbprint, kid) == 0)
			return fault_set(f, ERR_FORMAT, "the guardian %s is there twice", kid);
	}
	rc = take_urls(o, g, f);
	if (rc < 0)
		return rc;
	memcpy(g->thumbprint, kid, JWK_THUMBPRINT_SIZE);
	p->n_guardians++;
	return 0;
}

static int take_edition(const json_t *o, struct protector *p, struct fault *f)
{
	const json_t *edition = json_object_get(o, "edition");
	json_int_t n = json_integer_value(edition);
	if (!json_is_integer(edition) || n < 1)
		return fault_set(f, ERR_FORMAT,
				 "the protector's \"edition\" is not a number from 1 on");
	if (n > PROTECTOR_EDITION_MAX)
		return fault_set(f, ERR_LIMIT, "the protector is edition %lld, 2^53 is the last",
				 (long long)n);
	p->facts.edition = n;
	return 0;
}

int protector_take_guardians(const json_t *o, struct protector *p, struct fault *f)
{
	const json_t *guardians = json_object_get(o, "guardians");
	const json_t *offline = json_object_get(o, "offline");
	size_t n = json_array_size(guardians);
	const char *assurance = strict_text(o, "assurance");
	int rc = 0;
	if (!assurance || healthcert_assurance_parse(assurance, &p->facts.least) < 0)
		return fault_set(
			f, ERR_FORMAT,
			"the protector's \"assurance\" is neither \"tpm\" nor \"hostkey\"");
	if (!json_is_integer(offline) || json_integer_value(offline) < 0)
		return fault_set(f, ERR_FORMAT, "the protector's \"offline\" is not a number");
	if (json_integer_value(offline) > PROTECTOR_OFFLINE_MAX)
		return fault_set(f, ERR_LIMIT,
				 "the protector permits %lld offline starts, %d is the most",
				 (long long)json_integer_value(offline), PROTECTOR_OFFLINE_MAX);
	p->facts.offline = (uint32_t)json_integer_value(offline);
	rc = take_edition(o, p, f);
	if (rc < 0)
		return rc;
	if (n > PROTECTOR_GUARDIANS_MAX)
		return fault_set(f, ERR_LIMIT, "the protector has %zu guardians, %d is the most", n,
				 PROTECTOR_GUARDIANS_MAX);
	if (n == 0)
		return fault_set(f, ERR_FORMAT,
				 "the protector's \"guardians\" is not an array of guardians");
	for (size_t i = 0; i < n && rc >= 0; i++)
		rc = take_guardian(json_array_get(guardians, i), p, f);
	return rc;
}

int protector_check_guards(const struct protector_facts *facts,
			   const struct protector_guards *guards, struct fault *f)
{
	if (guards->n > PROTECTOR_GUARDIANS_MAX)
		return fault_set(f, ERR_LIMIT, "%zu guardians, %d is the most", guards->n,
				 PROTECTOR_GUARDIANS_MAX);
	if (facts->offline > PROTECTOR_OFFLINE_MAX)
		return fault_set(f, ERR_LIMIT, "%u offline starts, %d is the most", facts->offline,
				 PROTECTOR_OFFLINE_MAX);
	if (guards->n > 0 && (facts->edition < 1 || facts->edition > PROTECTOR_EDITION_MAX))
		return fault_set(f, ERR_USAGE, "%lld is not the number of an edition",
				 (long long)facts->edition);
	if (guards->n > 0)
		return facts->least == HEALTHCERT_TPM || facts->least == HEALTHCERT_HOSTKEY
			       ? 0
			       : fault_set(f, ERR_USAGE, "%d is not an assurance",
					   (int)facts->least);
	if (facts->offline != 0)
		return fault_set(f, ERR_USAGE,
				 "offline starts are of use with a guardian only, and none is "
				 "given");
	if (facts->edition != 0)
		return fault_set(f, ERR_USAGE,
				 "nobody would remember a protector's edition but a guardian, and "
				 "none is given");
	if (facts->least != 0 && facts->least != HEALTHCERT_TPM)
		return fault_set(f, ERR_USAGE,
				 "nobody would look at a host's assurance but a guardian, and none "
				 "is given");
	return 0;
}

/* The addresses of TEXT, as an array; NULL when memory is out. */
static json_t *urls_array(const char *text)
{
	json_t *urls = json_array();
	for (size_t n; urls; text += n + 1) {
		n = strcspn(text, ",");
		if (json_array_append_new(urls, json_stringn(text, n)) < 0) {
			json_decref(urls);
			return NULL;
		}
		if (text[n] == '\0')
			break;
	}
	return urls;
}

int protector_put_guardians(const struct protector_facts *facts,
			    const struct protector_guards *guards, json_t *o, struct fault *f)
{
	CLEANUP_JSON json_t *list = json_array();
	int ok = list != NULL;
	for (size_t i = 0; i < guards->n && ok; i++) {
		char kid[JWK_THUMBPRINT_SIZE];
		int rc = jwk_thumbprint(guards->keys[i], kid);
		if (rc < 0)
			return fault_set(f, rc, "a guardian's thumbprint: %s", err_text(rc));
		ok = json_array_append_new(list, json_pack("{s:s,s:o}", "kid", kid, "urls",
							   urls_array(guards->urls[i]))) == 0;
	}
	if (!ok || json_object_set(o, "guardians", list) < 0 ||
	    json_object_set_new(o, "assurance",
				json_string(healthcert_assurance_name(facts->least))) < 0 ||
	    json_object_set_new(o, "offline", json_integer(facts->offline)) < 0 ||
	    json_object_set_new(o, "edition", json_integer(facts->edition)) < 0)
		return fault_set(f, -ENOMEM, "no memory for a protector");
	return 0;
}
