/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/image.h"

#include <byteswap.h>
#include <string.h>

#define MAGIC_COMPLETE "LibvirtQemudSave"
#define MAGIC_PARTIAL  "LibvirtQemudPart"
#define VERSION	       2U

_Static_assert(sizeof(MAGIC_COMPLETE) == IMAGE_MAGIC_BYTES + 1, "without the NUL");
_Static_assert(sizeof(MAGIC_PARTIAL) == IMAGE_MAGIC_BYTES + 1, "without the NUL");

static const char *const FORMAT_NAMES[] = {
	"raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"
};
_Static_assert(sizeof(FORMAT_NAMES) / sizeof(FORMAT_NAMES[0]) == IMAGE_FORMAT_LAST + 1,
	       "a name per format");

const char *image_format_name(enum image_format format)
{
	return FORMAT_NAMES[format];
}

int image_is(const uint8_t *data, size_t n)
{
	return n >= IMAGE_MAGIC_BYTES && (memcmp(data, MAGIC_COMPLETE, IMAGE_MAGIC_BYTES) == 0 ||
					  memcmp(data, MAGIC_PARTIAL, IMAGE_MAGIC_BYTES) == 0);
}

/* Field INDEX of those behind the magic. */
static uint32_t field(const uint8_t *data, int index, int swapped)
{
	uint32_t value;
	memcpy(&value, data + IMAGE_MAGIC_BYTES + (size_t)index * sizeof(value), sizeof(value));
	return swapped ? bswap_32(value) : value;
}

int image_header(const uint8_t *data, size_t n, struct image *out, struct fault *f)
{
	if (!image_is(data, n))
		return fault_set(f, ERR_FORMAT, "not a file that libvirt saved a VM in");
	if (n < IMAGE_HEADER_BYTES)
		return fault_set(f, ERR_TRUNCATED, "cut off inside libvirt's header");
	int swapped = field(data, 0, 0) == bswap_32(VERSION);
	if (field(data, 0, swapped) != VERSION)
		return fault_set(f, ERR_VERSION,
				 "version %u of libvirt's header, of which only %u is known",
				 field(data, 0, swapped), VERSION);
	uint32_t data_bytes = field(data, 1, swapped), format = field(data, 3, swapped);
	uint32_t cookie = field(data, 4, swapped);
	if (data_bytes == 0)
		return fault_set(f, ERR_FORMAT, "no domain XML behind libvirt's header");
	if (data_bytes > IMAGE_DATA_MAX)
		return fault_set(f, ERR_LIMIT,
				 "%u bytes of domain XML behind libvirt's header, more than %d",
				 data_bytes, IMAGE_DATA_MAX);
	if (format > IMAGE_FORMAT_LAST)
		return fault_set(f, ERR_VERSION, "compressed by libvirt in an unknown way (%u)",
				 format);
	if (cookie > data_bytes)
		return fault_set(f, ERR_FORMAT,
				 "libvirt's header has a cookie at %u, behind its data (%u)",
				 cookie, data_bytes);
	*out = (struct image){ .complete = memcmp(data, MAGIC_COMPLETE, IMAGE_MAGIC_BYTES) == 0,
			       .was_running = field(data, 2, swapped) != 0,
			       .swapped = swapped,
			       .format = (enum image_format)format,
			       .data_bytes = data_bytes,
			       .xml_room = cookie ? cookie : data_bytes };
	return 0;
}

int image_xml(const struct image *i, const uint8_t *data, size_t n, size_t *xml_bytes,
	      struct fault *f)
{
	if (n < i->data_bytes)
		return fault_set(f, ERR_TRUNCATED, "cut off inside the domain XML");
	const uint8_t *end = memchr(data, 0, i->xml_room);
	if (!end)
		return fault_set(f, ERR_FORMAT, "the domain XML in it has no end");
	*xml_bytes = (size_t)(end - data);
	return 0;
}
