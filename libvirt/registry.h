/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registry: whose VM it is, which vTPM it has on this host, which it had, and whether the
 * present one was made yet.  It is what tells a first start from a start with deleted state, and
 * the owner's order for a new TPM from anybody else's.
 *
 * One file per VM, PATH_REGISTRY/UUID.json (docs/FORMAT.md, "Registry"), root only, replaced
 * durably.  A file that is not in the one valid form is refused, never taken for absent.
 *
 * May be used by: the hook (writes), `shieldvm` (reads).  The caller holds the folders' lock.
 */
#ifndef SHIELDVM_LIBVIRT_REGISTRY_H
#define SHIELDVM_LIBVIRT_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"
#include "crypto/jwk.h"

#define REGISTRY_TPM_BYTES 16  /* a vTPM's id, as in the protector */
#define REGISTRY_PAST_MAX  256 /* replaced vTPMs of one VM */
#define REGISTRY_FILE_MAX  16384

struct registry {
	char owner[JWK_THUMBPRINT_SIZE]; /* who signed the protector of the first start */
	uint8_t tpm[REGISTRY_TPM_BYTES]; /* the present vTPM */
	int made;			 /* 1: it was manufactured, so its state must be there */
	size_t n_past;
	uint8_t past[REGISTRY_PAST_MAX][REGISTRY_TPM_BYTES]; /* replaced ones; never again */
};

/* Parse a file's N bytes of TEXT, which must be VM's.  ERR_FORMAT, ERR_VERSION, ERR_VM, ERR_LIMIT.
 */
int registry_parse(const char *text, size_t n, const uint8_t vm[static UUID_BYTES],
		   struct registry *out, struct fault *f) MUST_CHECK;

/* Read VM's file in DIR_FD.  -ENOENT (without a sentence) if there is none; what fd_read_file() and
 * registry_parse() say. */
int registry_read(int dir_fd, const uint8_t vm[static UUID_BYTES], struct registry *out,
		  struct fault *f) MUST_CHECK;

/* Write VM's file durably; after a failure the old one is still there. */
int registry_write(int dir_fd, const uint8_t vm[static UUID_BYTES], const struct registry *r,
		   struct fault *f) MUST_CHECK;

enum registry_birth {
	REGISTRY_KNOWN,	   /* TPM was made: its state must be there */
	REGISTRY_NEW,	   /* TPM is the VM's first, or its making was cut short */
	REGISTRY_REPLACES, /* the owner has ordered a new TPM in place of the present one */
};

/*
 * Decide about a start with the vTPM id TPM and OWNER's thumbprint (of a verified protector).  OLD
 * is the registry, or NULL if there is none.  *NEXT is what the registry has to say before the
 * worker may start.  ERR_AUTH with a sentence if a TPM was made for another owner: a signature says
 * who made a protector, not whose the VM is.  ERR_STATE with one if TPM was replaced before: an old
 * protector was put back.  ERR_LIMIT.
 */
int registry_admit(const struct registry *old, const char *owner,
		   const uint8_t tpm[static REGISTRY_TPM_BYTES], struct registry *next,
		   enum registry_birth *birth, struct fault *f) MUST_CHECK;

/* A vTPM's id as text, lower-case hexadecimal with the NUL. */
void registry_tpm_text(const uint8_t tpm[static REGISTRY_TPM_BYTES],
		       char text[static 2 * REGISTRY_TPM_BYTES + 1]);

#endif
