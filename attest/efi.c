/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/efi.h"

#include <string.h>

/* 8be4df61-93ca-11d2-aa0d-00e098032b8c */
static const uint8_t GLOBAL_VARIABLE[EFI_GUID_BYTES] = { 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93,
							 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0,
							 0x98, 0x03, 0x2b, 0x8c };
/* d719b2cb-3d3a-4596-a3bc-dad00e67656f */
static const uint8_t SECURITY_DATABASE[EFI_GUID_BYTES] = { 0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d,
							   0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0,
							   0x0e, 0x67, 0x65, 0x6f };
/* c1c41626-504c-4092-aca9-41f936934328 */
static const uint8_t CERT_SHA256[EFI_GUID_BYTES] = {
	0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
	0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28
};
/* a5c059a1-94e4-4aa7-87b5-ab155c2bf072 */
static const uint8_t CERT_X509[EFI_GUID_BYTES] = { 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
						   0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72 };

static const struct {
	const uint8_t *guid;
	const char *name;
	enum efi_variable_id which;
} VARIABLES[] = {
	{ GLOBAL_VARIABLE, "SecureBoot", EFI_SECURE_BOOT },
	{ GLOBAL_VARIABLE, "PK", EFI_PK },
	{ GLOBAL_VARIABLE, "KEK", EFI_KEK },
	{ SECURITY_DATABASE, "db", EFI_DB },
	{ SECURITY_DATABASE, "dbx", EFI_DBX },
	{ SECURITY_DATABASE, "dbt", EFI_DBT },
	{ GLOBAL_VARIABLE, "SetupMode", EFI_SETUP_MODE },
	{ GLOBAL_VARIABLE, "AuditMode", EFI_AUDIT_MODE },
	{ GLOBAL_VARIABLE, "DeployedMode", EFI_DEPLOYED_MODE },
};

static int short_variable(struct fault *f)
{
	return fault_set(f, ERR_FORMAT, "a measured UEFI variable is not as long as it says");
}

int efi_variable_parse(const uint8_t *data, size_t n, struct efi_variable *out, struct fault *f)
{
	struct reader in = { data, n };
	struct efi_variable v = { .which = EFI_VARIABLE_OTHER };
	uint64_t characters, bytes;
	const uint8_t *guid = reader_bytes(&in, EFI_GUID_BYTES);
	if (!guid || reader_number(&in, 8, &characters) < 0 || reader_number(&in, 8, &bytes) < 0)
		return short_variable(f);
	if (characters >= EFI_NAME_MAX)
		return fault_set(f, ERR_LIMIT,
				 "a measured UEFI variable has a name of %llu characters; fewer "
				 "than %d are read",
				 (unsigned long long)characters, EFI_NAME_MAX);
	for (uint64_t i = 0; i < characters; i++) {
		uint16_t c;
		if (reader_u16(&in, &c) < 0)
			return short_variable(f);
		if (c < 0x20 || c > 0x7e)
			return fault_set(f, ERR_FORMAT,
					 "a measured UEFI variable's name is not printable ASCII");
		v.name[i] = (char)c;
	}
	if (bytes != in.left)
		return short_variable(f);
	memcpy(v.guid, guid, EFI_GUID_BYTES);
	v.data = in.at;
	v.data_bytes = in.left;
	for (size_t i = 0; i < sizeof(VARIABLES) / sizeof(VARIABLES[0]); i++)
		if (memcmp(VARIABLES[i].guid, guid, EFI_GUID_BYTES) == 0 &&
		    strcmp(VARIABLES[i].name, v.name) == 0)
			v.which = VARIABLES[i].which;
	*out = v;
	return 0;
}

int efi_variable_flag(const struct efi_variable *v, struct fault *f)
{
	if (v->data_bytes != 1 || v->data[0] > 1)
		return fault_set(f, ERR_FORMAT, "the UEFI variable %s is neither 0 nor 1", v->name);
	return v->data[0];
}

void efi_signatures_start(struct efi_signatures *it, const uint8_t *data, size_t n)
{
	*it = (struct efi_signatures){ .lists = { data, n } };
}

/* The header of an EFI_SIGNATURE_LIST, and what is in it. */
static int next_list(struct efi_signatures *it)
{
	struct reader in = it->lists;
	uint32_t list, header, bytes;
	const uint8_t *type = reader_bytes(&in, EFI_GUID_BYTES);
	if (!type || reader_u32(&in, &list) < 0 || reader_u32(&in, &header) < 0 ||
	    reader_u32(&in, &bytes) < 0)
		return ERR_FORMAT;
	if (list < EFI_GUID_BYTES + 3 * sizeof(uint32_t) || bytes <= EFI_GUID_BYTES)
		return ERR_FORMAT;
	size_t inside = list - EFI_GUID_BYTES - 3 * sizeof(uint32_t);
	struct reader body = { reader_bytes(&in, inside), inside };
	if (!body.at || !reader_bytes(&body, header) || body.left % bytes != 0)
		return ERR_FORMAT;
	it->type = EFI_SIGNATURE_OTHER;
	if (memcmp(type, CERT_SHA256, EFI_GUID_BYTES) == 0)
		it->type = EFI_SIGNATURE_SHA256;
	else if (memcmp(type, CERT_X509, EFI_GUID_BYTES) == 0)
		it->type = EFI_SIGNATURE_X509;
	/* Both are without a header (UEFI Specification, "EFI_SIGNATURE_LIST"). */
	if (it->type != EFI_SIGNATURE_OTHER && header != 0)
		return ERR_FORMAT;
	if (it->type == EFI_SIGNATURE_SHA256 && bytes != EFI_GUID_BYTES + EFI_SHA256_BYTES)
		return ERR_FORMAT;
	it->bytes = bytes;
	it->rest = body;
	it->lists = in;
	return 0;
}

int efi_signatures_next(struct efi_signatures *it, struct efi_signature *out, struct fault *f)
{
	while (it->rest.left == 0) {
		if (it->lists.left == 0)
			return 0;
		if (next_list(it) < 0)
			return fault_set(f, ERR_FORMAT,
					 "a measured signature database is not well-formed");
	}
	/* next_list() has seen that there are whole ones only. */
	const uint8_t *owner = it->rest.at;
	it->rest.at += it->bytes;
	it->rest.left -= it->bytes;
	*out = (struct efi_signature){ .type = it->type,
				       .owner = owner,
				       .data = owner + EFI_GUID_BYTES,
				       .data_bytes = it->bytes - EFI_GUID_BYTES };
	return 1;
}

int efi_signatures_have(const uint8_t *data, size_t n,
			const uint8_t digest[static EFI_SHA256_BYTES], struct fault *f)
{
	struct efi_signatures it;
	struct efi_signature s = { 0 };
	int rc, found = 0;
	efi_signatures_start(&it, data, n);
	while ((rc = efi_signatures_next(&it, &s, f)) > 0)
		found |= s.type == EFI_SIGNATURE_SHA256 &&
			 memcmp(s.data, digest, EFI_SHA256_BYTES) == 0;
	return rc < 0 ? rc : found;
}

int efi_image_parse(const uint8_t *data, size_t n, struct efi_image *out, struct fault *f)
{
	struct reader in = { data, n };
	struct efi_image image;
	uint64_t path_bytes;
	if (reader_number(&in, 8, &image.location) < 0 || reader_number(&in, 8, &image.bytes) < 0 ||
	    reader_number(&in, 8, &image.link_address) < 0 ||
	    reader_number(&in, 8, &path_bytes) < 0 || path_bytes != in.left)
		return fault_set(f, ERR_FORMAT,
				 "a measured image's event is not as long as it says");
	image.path = in.at;
	image.path_bytes = in.left;
	*out = image;
	return 0;
}
