/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TCG event log of the firmware and boot loader (TCG PC Client Platform Firmware Profile,
 * "Event Logging"): the crypto-agile form only, read strictly and replayed.
 *
 * A log proves nothing by itself: only what replays to quoted values has been measured, and of an
 * event only its digest.  EventType is not measured, and of the data only what hashes to the digest
 * counts (eventlog_data_measured()).
 *
 * Refused, each under its own id of attest/finding.h: see eventlog_parse().
 *
 * May be used by: attest/, guardian/ (in its sandboxed verifier), cli/.  Bounded memory, no system
 * call.
 */
#ifndef SHIELDVM_ATTEST_EVENTLOG_H
#define SHIELDVM_ATTEST_EVENTLOG_H

#include <stddef.h>

#include "attest/finding.h"
#include "attest/pcr.h"

#define EVENTLOG_BYTES_MAX	 (1024 * 1024)
#define EVENTLOG_EVENTS_MAX	 8192
#define EVENTLOG_EVENT_BYTES_MAX (256 * 1024)

/* TCG PC Client Platform Firmware Profile, "Event Types"; the ones that are known. */
enum event_type {
	EV_POST_CODE = 0x01,
	EV_NO_ACTION = 0x03,
	EV_SEPARATOR = 0x04,
	EV_ACTION = 0x05,
	EV_EVENT_TAG = 0x06,
	EV_S_CRTM_CONTENTS = 0x07,
	EV_S_CRTM_VERSION = 0x08,
	EV_CPU_MICROCODE = 0x09,
	EV_PLATFORM_CONFIG_FLAGS = 0x0a,
	EV_TABLE_OF_DEVICES = 0x0b,
	EV_COMPACT_HASH = 0x0c,
	EV_IPL = 0x0d,
	EV_IPL_PARTITION_DATA = 0x0e,
	EV_NONHOST_CODE = 0x0f,
	EV_NONHOST_CONFIG = 0x10,
	EV_NONHOST_INFO = 0x11,
	EV_OMIT_BOOT_DEVICE_EVENTS = 0x12,
	EV_POST_CODE2 = 0x13,
	EV_EFI_VARIABLE_DRIVER_CONFIG = (int)0x80000001,
	EV_EFI_VARIABLE_BOOT = (int)0x80000002,
	EV_EFI_BOOT_SERVICES_APPLICATION = (int)0x80000003,
	EV_EFI_BOOT_SERVICES_DRIVER = (int)0x80000004,
	EV_EFI_RUNTIME_SERVICES_DRIVER = (int)0x80000005,
	EV_EFI_GPT_EVENT = (int)0x80000006,
	EV_EFI_ACTION = (int)0x80000007,
	EV_EFI_PLATFORM_FIRMWARE_BLOB = (int)0x80000008,
	EV_EFI_HANDOFF_TABLES = (int)0x80000009,
	EV_EFI_PLATFORM_FIRMWARE_BLOB2 = (int)0x8000000a,
	EV_EFI_HANDOFF_TABLES2 = (int)0x8000000b,
	EV_EFI_VARIABLE_BOOT2 = (int)0x8000000c,
	EV_EFI_GPT_EVENT2 = (int)0x8000000d,
	EV_EFI_HCRTM_EVENT = (int)0x80000010,
	EV_EFI_VARIABLE_AUTHORITY = (int)0x800000e0,
	EV_EFI_SPDM_FIRMWARE_BLOB = (int)0x800000e1,
	EV_EFI_SPDM_FIRMWARE_CONFIG = (int)0x800000e2,
};

struct event {
	uint32_t pcr;
	uint32_t type;		/* enum event_type */
	const uint8_t *digest;	/* of the bank that was asked for */
	const uint8_t *data;	/* belongs to the log that was parsed */
	uint32_t data_bytes;
};

struct eventlog;

/*
 * Parse the N bytes of LOG, which must outlive *OUT, for one BANK (HASH_SHA256, _384, _512; a log
 * that has it not is refused).  On failure *ID is the finding's id ("log.format", "log.header",
 * "log.bank", "log.algorithm", "log.size", "log.type", "log.separator" ...).  ERR_FORMAT,
 * ERR_LIMIT, ERR_VERSION, ERR_TRUNCATED, ERR_POLICY, -ENOMEM.  Nothing is accepted in part.
 */
int eventlog_parse(const uint8_t *log, size_t n, uint16_t bank, struct eventlog **out,
		   const char **id, struct fault *f) MUST_CHECK;
void eventlog_free(struct eventlog *l);

size_t eventlog_count(const struct eventlog *l);
const struct event *eventlog_event(const struct eventlog *l, size_t i);

/* 1 if the event's data (or the part that the profile says) hashes to its digest: only then does it
 * say something.  Never for images (Authenticode), EV_IPL and blobs. */
int eventlog_data_measured(const struct eventlog *l, size_t i);

/* What the PCRs 0 to 16 would be after this log: all of them, with the reset value (and the startup
 * locality's in PCR 0) where there is no event.  ERR_CRYPTO. */
int eventlog_replay(const struct eventlog *l, struct pcrs *out) MUST_CHECK;

#endif
