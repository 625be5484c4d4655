/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libvirt writes in front of a VM's state: the header and the domain XML of `virsh save`,
 * `managedsave` and `snapshot-create-as --memspec` (struct _virQEMUSaveHeader of libvirt's
 * src/qemu/qemu_saveimage.h, version 2).
 *
 *	 0  magic: "LibvirtQemudSave", or "LibvirtQemudPart" until the save has finished
 *	16  version, data_len, was_running, compressed, cookieOffset: 32 bits each, in the byte
 *	    order of the machine that wrote it
 *	36  unused (56 bytes)
 *	92  data_len bytes: the XML and a NUL, at cookieOffset (if not 0) a cookie, then padding
 *
 * The state follows.  Nothing of this is sealed or authenticated: libvirt writes it in the clear,
 * and `virsh save-image-edit` changes it.
 *
 * May be used by: cli/.  No system call.
 */
#ifndef SHIELDVM_LIBVIRT_IMAGE_H
#define SHIELDVM_LIBVIRT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IMAGE_MAGIC_BYTES  16
#define IMAGE_HEADER_BYTES 92
#define IMAGE_DATA_MAX	   (16 * 1024 * 1024) /* XML, cookie and padding; libvirt has no limit */

/* What libvirt had the state go through; the values are libvirt's format. */
enum image_format {
	IMAGE_RAW,
	IMAGE_GZIP,
	IMAGE_BZIP2,
	IMAGE_XZ,
	IMAGE_LZOP,
	IMAGE_ZSTD,
	IMAGE_SPARSE, /* QEMU's mapped-ram: written by QEMU itself, by nobody sealed */
};
#define IMAGE_FORMAT_LAST IMAGE_SPARSE

/* "raw", "gzip" ...: libvirt's name, for 1 to 5 also that of the program. */
const char *image_format_name(enum image_format format);

struct image {
	int complete;	 /* libvirt saw the save through to its end */
	int was_running; /* and not paused, when it was saved */
	int swapped;	 /* written by a machine of the other byte order */
	enum image_format format;
	size_t data_bytes; /* between header and state */
	size_t xml_room;   /* of them for the XML, with its NUL */
};

/* 1 if the N bytes at DATA begin with one of the two magics. */
int image_is(const uint8_t *data, size_t n);

/*
 * Read the header in the N bytes at DATA, of which only IMAGE_HEADER_BYTES are looked at.
 * ERR_FORMAT, ERR_TRUNCATED, ERR_VERSION, ERR_LIMIT (over IMAGE_DATA_MAX) with a sentence; OUT is
 * then untouched.
 */
int image_header(const uint8_t *data, size_t n, struct image *out, struct fault *f) MUST_CHECK;

/*
 * Find the XML in the N bytes at DATA that followed header I: it begins there, and is *XML_BYTES
 * long without its NUL.  ERR_TRUNCATED (fewer than I->data_bytes), ERR_FORMAT (no NUL).
 */
int image_xml(const struct image *i, const uint8_t *data, size_t n, size_t *xml_bytes,
	      struct fault *f) MUST_CHECK;

#endif
