/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#include "libvirt/domain.h"

#define SHIELD(inside) "<shield xmlns='" SHIELD_NAMESPACE "'>" inside "</shield>"
#define META(inside)   "<domain><name> vm 1\n</name><metadata>" inside "</metadata></domain>"

static int parse(const char *xml, struct domain **d, struct fault *f)
{
	*f = (struct fault){ 0 };
	return domain_parse(xml, strlen(xml), d, f);
}

static void test_name_uuid_and_shield_are_read(void **state)
{
	(void)state;
	struct domain *d = NULL;
	struct fault f;
	uint8_t uuid[UUID_BYTES];
	assert_int_equal(
		parse("<?xml version='1.0'?><!-- c --><domain><name> vm 1\n</name><uuid> "
		      "01234567-89ab-cdef-0123-456789abcdef\n</uuid><metadata><other/>"
		      "<s:shield xmlns:s='" SHIELD_NAMESPACE "'><!-- c -->\n <s:protector>\n"
		      " eyJ.eyJ.sig\n</s:protector></s:shield></metadata></domain><!-- e -->",
		      &d, &f),
		0);
	assert_string_equal(domain_name(d), "vm 1");
	assert_string_equal(domain_shield_text(d), "eyJ.eyJ.sig");
	assert_int_equal(domain_uuid(d, uuid), 0);
	assert_int_equal(uuid[15], 0xef);
	domain_free(d);
}

static void test_a_domain_without_shield_is_plain(void **state)
{
	(void)state;
	struct domain *d = NULL;
	struct fault f;
	uint8_t uuid[UUID_BYTES] = { 9 };
	assert_int_equal(
		parse("<domain><metadata><shield xmlns='urn:other'/></metadata></domain>", &d, &f),
		0);
	assert_null(domain_shield_text(d));
	assert_string_equal(domain_name(d), "");
	assert_int_equal(domain_uuid(d, uuid), ERR_FORMAT);
	assert_int_equal(uuid[0], 9);
	domain_free(d);
}

static void test_every_malformed_domain_has_a_sentence(void **state)
{
	(void)state;
	static const struct {
		const char *xml, *sentence;
	} BAD[] = {
		{ "", "the XML is empty" },
		{ " ", "not well-formed XML" },
		{ "hello", "not well-formed XML: line 1" },
		{ "<domain>", "not well-formed XML" },
		{ "<domain></domain><domain/>", "not well-formed XML" },
		{ "<domain>\n\n<a></b></domain>", "not well-formed XML: line 3" },
		{ "<domain>&x;</domain>", "not well-formed XML" },
		{ "<network/>", "not a libvirt domain: its root element is <network>" },
		{ "<domain xmlns='urn:x'/>", "not a libvirt domain" },
		{ "<!DOCTYPE domain><domain/>", "document type declaration" },
		{ "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>",
		  "document type declaration" },
		{ "<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>",
		  "document type declaration" },
		{ "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain>&x;</domain>",
		  "document type declaration" },
		{ META(SHIELD("")), "no <protector> in it" },
		{ META(SHIELD("text")), "only one <protector>" },
		{ META(SHIELD("<protector>a</protector><protector>b</protector>")),
		  "only one <protector>" },
		{ META(SHIELD("<protector>a</protector><level/>")), "only one <protector>" },
		{ META(SHIELD("<protector>a</protector><level xmlns='urn:x'/>")),
		  "only one <protector>" },
		{ META(SHIELD("<protector xmlns=''>a</protector>")), "only one <protector>" },
		{ META(SHIELD("<protector>a<b/></protector>")), "only text may be in it" },
		{ META(SHIELD("<protector x='1'>a</protector>")), "it has no attributes" },
		{ META(SHIELD("<protector>a</protector>") SHIELD("<protector>a</protector>")),
		  "there is a second one" },
		{ META("<x>" SHIELD("<protector>a</protector>") "</x>"),
		  "it belongs into the domain's <metadata>" },
		{ META("<protector xmlns='" SHIELD_NAMESPACE "'>a</protector>"),
		  "not an element of the shield" },
		{ "<domain><devices>" SHIELD("<protector>a</protector>") "</devices></domain>",
		  "it belongs into the domain's <metadata>" },
		{ "<domain><x><metadata>" SHIELD("<protector>a</protector>") "</metadata></x>"
									     "</domain>",
		  "it belongs into the domain's <metadata>" },
	};
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		struct domain *d = NULL;
		struct fault f;
		int rc = parse(BAD[i].xml, &d, &f);
		if (rc != ERR_FORMAT || d || !strstr(f.text, BAD[i].sentence))
			fail_msg("%s: %d, %s", BAD[i].xml, rc, f.text);
	}
}

static void test_limits(void **state)
{
	(void)state;
	struct domain *d = NULL;
	struct fault f = { 0 };
	char *large = malloc(DOMAIN_XML_MAX + 1);
	assert_non_null(large);
	memset(large, ' ', DOMAIN_XML_MAX + 1);
	memcpy(large, "<domain/>", 9);
	assert_int_equal(domain_parse(large, DOMAIN_XML_MAX, &d, &f), 0);
	domain_free(d);
	d = NULL;
	assert_int_equal(domain_parse(large, DOMAIN_XML_MAX + 1, &d, &f), ERR_LIMIT);

	static const char START[] =
		"<domain><metadata><shield xmlns='" SHIELD_NAMESPACE "'><protector>";
	static const char REST[] = "</protector></shield></metadata></domain>";
	for (size_t over = 0; over < 2; over++) {
		size_t n = sizeof(START) - 1;
		memcpy(large, START, n);
		memset(large + n, 'A', PROTECTOR_TEXT_MAX + over);
		n += PROTECTOR_TEXT_MAX + over;
		memcpy(large + n, REST, sizeof(REST) - 1);
		f = (struct fault){ 0 };
		assert_int_equal(domain_parse(large, n + sizeof(REST) - 1, &d, &f),
				 over ? ERR_LIMIT : 0);
		domain_free(d);
		d = NULL;
	}

	size_t n = 0; /* depth: libxml2's own limit */
	for (n = 0; n < 300 * 3; n += 3)
		memcpy(large + n, "<a>", 3);
	f = (struct fault){ 0 };
	assert_int_equal(domain_parse(large, n, &d, &f), ERR_FORMAT);
	assert_true(f.text[0] != '\0');
	memset(large, 0, 64);
	assert_int_equal(domain_parse(large, 64, &d, NULL), ERR_FORMAT);
	free(large);
}

static void test_the_shield_is_put_in_and_replaced(void **state)
{
	(void)state;
	static const char *const BEFORE[] = {
		"<domain>\n  <name>x</name>\n</domain>",
		"<domain>\n  <name>x</name>\n  <metadata>\n    <o xmlns=\"urn:o\"/>\n  "
		"</metadata>\n"
		"</domain>",
		META(""),
	};
	for (size_t i = 0; i < sizeof(BEFORE) / sizeof(BEFORE[0]); i++) {
		struct domain *d = NULL, *again = NULL;
		struct fault f;
		CLEANUP_BUF struct buf out = BUF_INIT(DOMAIN_XML_MAX);
		assert_int_equal(parse(BEFORE[i], &d, &f), 0);
		assert_int_equal(domain_set_shield(d, "first"), 0);
		assert_string_equal(domain_shield_text(d), "first");
		assert_int_equal(domain_set_shield(d, "a.b-c_d.e"), 0);
		assert_int_equal(domain_text(d, &out), 0);
		if (parse(buf_cstr(&out), &again, &f) < 0)
			fail_msg("%s: %s", buf_cstr(&out), f.text);
		assert_string_equal(domain_shield_text(again), "a.b-c_d.e");
		if (i == 1)
			assert_string_equal(buf_cstr(&out),
					    "<domain>\n  <name>x</name>\n  <metadata>\n    <o "
					    "xmlns=\"urn:o\"/>\n"
					    "    <shield xmlns=\"urn:shieldvm:shield:1\">\n"
					    "      <protector>a.b-c_d.e</protector>\n    "
					    "</shield>\n  </metadata>\n"
					    "</domain>\n");
		domain_free(d);
		domain_free(again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_uuid_and_shield_are_read),
		cmocka_unit_test(test_a_domain_without_shield_is_plain),
		cmocka_unit_test(test_every_malformed_domain_has_a_sentence),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_the_shield_is_put_in_and_replaced),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
