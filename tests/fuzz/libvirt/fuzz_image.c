/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that libvirt saved a VM in, as far as the domain that stands in it. */
#include <stdlib.h>
#include <string.h>

#include "libvirt/domain.h"
#include "libvirt/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image i;
	struct fault f = { 0 };
	size_t xml_bytes;
	if (image_header(data, size, &i, &f) < 0) {
		if (!f.text[0])
			abort();
		return 0;
	}
	if (i.format > IMAGE_FORMAT_LAST || i.data_bytes > IMAGE_DATA_MAX || i.data_bytes == 0 ||
	    i.xml_room > i.data_bytes || !image_format_name(i.format))
		abort();
	data += IMAGE_HEADER_BYTES;
	size -= IMAGE_HEADER_BYTES;
	if (image_xml(&i, data, size, &xml_bytes, &f) < 0) {
		if (!f.text[0])
			abort();
		return 0;
	}
	if (xml_bytes >= i.xml_room || data[xml_bytes] != 0 || memchr(data, 0, xml_bytes))
		abort();
	CLEANUP_DOMAIN struct domain *d = NULL;
	if (domain_parse((const char *)data, xml_bytes, &d, &f) >= 0 && !domain_name(d))
		abort();
	return 0;
}
