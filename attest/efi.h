/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the data of measured events say, decoded strictly: UEFI variables, signature databases,
 * images (UEFI Specification, "Secure Boot and Driver Signing"; TCG PC Client Platform Firmware
 * Profile, "Measuring UEFI Variables" and "UEFI_IMAGE_LOAD_EVENT").
 *
 * Nothing of it is true before eventlog_data_measured() has said so; an image's data never is.
 *
 * May be used by: attest/, guardian/, cli/.  No allocation, no system call; everything points into
 * the data that was given.
 */
#ifndef SHIELDVM_ATTEST_EFI_H
#define SHIELDVM_ATTEST_EFI_H

#include <stddef.h>
#include <stdint.h>

#include "attest/reader.h"
#include "base/err.h"

#define EFI_GUID_BYTES	 16
#define EFI_NAME_MAX	 128 /* with its NUL */
#define EFI_SHA256_BYTES 32

/* The variables that Secure Boot rests on, known by GUID and name together. */
enum efi_variable_id {
	EFI_VARIABLE_OTHER,
	EFI_SECURE_BOOT,
	EFI_PK,
	EFI_KEK,
	EFI_DB,
	EFI_DBX,
	EFI_DBT,
	EFI_SETUP_MODE,
	EFI_AUDIT_MODE,
	EFI_DEPLOYED_MODE,
};

struct efi_variable {
	enum efi_variable_id which;
	uint8_t guid[EFI_GUID_BYTES]; /* as in memory: the first three groups little-endian */
	char name[EFI_NAME_MAX];      /* printable ASCII */
	const uint8_t *data;
	size_t data_bytes;
};

/* UEFI_VARIABLE_DATA in the N bytes of DATA, all of them.  A name that is not printable ASCII is
 * refused.  "efi.variable": ERR_FORMAT, ERR_LIMIT for a name over EFI_NAME_MAX; *OUT is then
 * undefined. */
int efi_variable_parse(const uint8_t *data, size_t n, struct efi_variable *out,
		       struct fault *f) MUST_CHECK;

/* 1 or 0, what a variable of one byte (SecureBoot, SetupMode ...) says; ERR_FORMAT if it is
 * anything else. */
int efi_variable_flag(const struct efi_variable *v, struct fault *f) MUST_CHECK;

enum efi_signature_type {
	EFI_SIGNATURE_OTHER,
	EFI_SIGNATURE_SHA256, /* a digest of an image, EFI_SHA256_BYTES */
	EFI_SIGNATURE_X509,   /* a certificate, DER */
};

struct efi_signature {
	enum efi_signature_type type;
	const uint8_t *owner; /* EFI_GUID_BYTES */
	const uint8_t *data;
	size_t data_bytes;
};

/* Where one is in a database: EFI_SIGNATURE_LISTs one behind the other. */
struct efi_signatures {
	struct reader lists; /* behind the present one */
	struct reader rest;  /* of the present one's signatures */
	enum efi_signature_type type;
	uint32_t bytes; /* of each of them, with its owner */
};

/* Begin with the N bytes of a database's DATA; empty is one without signatures. */
void efi_signatures_start(struct efi_signatures *it, const uint8_t *data, size_t n);

/* The next signature: 1, or 0 at the end.  "efi.signatures": ERR_FORMAT, and from then on again. */
int efi_signatures_next(struct efi_signatures *it, struct efi_signature *out,
			struct fault *f) MUST_CHECK;

/* 1 if the database in DATA has DIGEST as the SHA-256 of an image, 0 if not; all of DATA is read
 * before either.  ERR_FORMAT. */
int efi_signatures_have(const uint8_t *data, size_t n,
			const uint8_t digest[static EFI_SHA256_BYTES], struct fault *f) MUST_CHECK;

/* Where an image was, and came from. */
struct efi_image {
	uint64_t location, bytes, link_address;
	const uint8_t *path; /* a device path, not looked into */
	size_t path_bytes;
};

/* UEFI_IMAGE_LOAD_EVENT in the N bytes of DATA, all of them.  "efi.image": ERR_FORMAT. */
int efi_image_parse(const uint8_t *data, size_t n, struct efi_image *out,
		    struct fault *f) MUST_CHECK;

#endif
