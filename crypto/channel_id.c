/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/channel_form.h"
#include "crypto/ossl.h"

#define VERSION	      1
#define FROM_VMS_HOST 1 /* direction */

/* docs/FORMAT.md, "Identity". */
enum {
	AT_VERSION = 8,
	AT_DIRECTION = 9,
	AT_KIND = 10,
	AT_NUMBER = 11,
	AT_VM = 13,
	AT_ATTEMPT = 29,
};
_Static_assert(AT_ATTEMPT + CHANNEL_ATTEMPT_BYTES == CHANNEL_ID_BYTES, "the attempt is the last");

static const uint8_t MAGIC[AT_VERSION] = { 'S', 'H', 'V', 'D', 'C', 'H', 'A', 'N' };

int channel_attempt_new(uint8_t attempt[static CHANNEL_ATTEMPT_BYTES])
{
	return RAND_bytes(attempt, CHANNEL_ATTEMPT_BYTES) == 1 ? 0 : ERR_CRYPTO;
}

void channel_id_encode(const struct channel_id *id, uint8_t out[static CHANNEL_ID_BYTES])
{
	memcpy(out, MAGIC, sizeof(MAGIC));
	out[AT_VERSION] = VERSION;
	out[AT_DIRECTION] = FROM_VMS_HOST;
	out[AT_KIND] = (uint8_t)id->kind;
	out[AT_NUMBER] = (uint8_t)(id->number >> 8);
	out[AT_NUMBER + 1] = (uint8_t)id->number;
	memcpy(out + AT_VM, id->vm, UUID_BYTES);
	memcpy(out + AT_ATTEMPT, id->attempt, CHANNEL_ATTEMPT_BYTES);
}

int channel_id_parse(const uint8_t *p, size_t n, struct channel_id *id, struct fault *f)
{
	static const uint8_t ZEROS[CHANNEL_ATTEMPT_BYTES];
	if (memcmp(p, MAGIC, n < sizeof(MAGIC) ? n : sizeof(MAGIC)) != 0)
		return fault_set(f, ERR_FORMAT, "not the identity of a migration channel");
	if (n <= AT_VERSION)
		return fault_set(f, ERR_TRUNCATED, "the channel's identity is cut off");
	if (p[AT_VERSION] != VERSION)
		return fault_set(f, ERR_VERSION,
				 "migration channels of version %u; this build knows %d only",
				 p[AT_VERSION], VERSION);
	if (n != CHANNEL_ID_BYTES)
		return fault_set(f, n < CHANNEL_ID_BYTES ? ERR_TRUNCATED : ERR_TRAILING,
				 "the channel's identity has %zu bytes instead of %d", n,
				 CHANNEL_ID_BYTES);
	unsigned kind = p[AT_KIND];
	unsigned number = (unsigned)p[AT_NUMBER] << 8 | p[AT_NUMBER + 1];
	if (p[AT_DIRECTION] != FROM_VMS_HOST || (kind != CHANNEL_MEMORY && kind != CHANNEL_DISK) ||
	    number > CHANNEL_NUMBER_MAX ||
	    memcmp(p + AT_ATTEMPT, ZEROS, CHANNEL_ATTEMPT_BYTES) == 0)
		return fault_set(f, ERR_FORMAT, "direction %u, kind %u, number %u: no such channel",
				 p[AT_DIRECTION], kind, number);
	id->kind = (enum channel_kind)kind;
	id->number = (uint16_t)number;
	memcpy(id->vm, p + AT_VM, UUID_BYTES);
	memcpy(id->attempt, p + AT_ATTEMPT, CHANNEL_ATTEMPT_BYTES);
	return 0;
}

int channel_psk(const struct vm_key *key, const struct channel_id *id,
		uint8_t psk[static KEY_BYTES])
{
	uint8_t bytes[CHANNEL_ID_BYTES];
	channel_id_encode(id, bytes);
	return key_derive(key, KEY_USE_CHANNEL, id->vm, NULL, 0, bytes, sizeof(bytes), psk,
			  KEY_BYTES);
}
