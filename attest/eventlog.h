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
	EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001,
	EV_EFI_VARIABLE_BOOT = 0x80000002,
	EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003,
	EV_EFI_BOOT_SERVICES_DRIVER = 0x80000004,
	EV_EFI_RUNTIME_SERVICES_DRIVER = 0x80000005,
	EV_EFI_GPT_EVENT = 0x80000006,
	EV_EFI_ACTION = 0x80000007,
	EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008,
	EV_EFI_HANDOFF_TABLES = 0x80000009,
	EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000a,
	EV_EFI_HANDOFF_TABLES2 = 0x8000000b,
	EV_EFI_VARIABLE_BOOT2 = 0x8000000c,
	EV_EFI_GPT_EVENT2 = 0x8000000d,
	EV_EFI_HCRTM_EVENT = 0x80000010,
	EV_EFI_VARIABLE_AUTHORITY = 0x800000e0,
	EV_EFI_SPDM_FIRMWARE_BLOB = 0x800000e1,
	EV_EFI_SPDM_FIRMWARE_CONFIG = 0x800000e2,
	EV_EFI_SPDM_DEVICE_POLICY = 0x800000e3,
	EV_EFI_SPDM_DEVICE_AUTHORITY = 0x800000e4,
};

/* Digest and data point into the log that was parsed. */
struct event {
	uint32_t pcr;
	uint32_t type;	       /* enum event_type */
	const uint8_t *digest; /* of the bank that was asked for */
	const uint8_t *data;
	uint32_t data_bytes;
};

struct eventlog;

/*
 * Parse the N bytes of LOG, which must outlive *OUT, for one BANK (HASH_SHA256, _384, _512; a log
 * that has it not is refused).  Nothing is accepted in part.  On failure *ID is the finding's id:
 *
 *  "log.size", ERR_LIMIT: the log or an event is larger than the maxima above
 *  "log.count", ERR_LIMIT: more events than the maximum
 *  "log.truncated", ERR_TRUNCATED: it ends within an event
 *  "log.header", ERR_VERSION: the first event is not that of a crypto-agile log, or comes again
 *  "log.algorithm", ERR_VERSION: a hash algorithm that is not known, twice there, or of another
 * size "log.bank", ERR_VERSION: no digests of BANK, or BANK is not good enough "log.digests",
 * ERR_FORMAT: an event has not one digest of each of the log's algorithms "log.pcr", ERR_FORMAT: a
 * PCR that there is not "log.type", ERR_VERSION: an event type that is not known "log.event",
 * ERR_FORMAT: an event that is not measured has a digest "log.locality", ERR_FORMAT: what says the
 * TPM's startup locality is ill-formed, late, repeated, or contradicts itself "log.separator",
 * ERR_POLICY: PCRs 0 to 7 have not one separator each, or one under another type
 *  "log.firmware-error", ERR_POLICY: a separator says that the firmware failed
 *  "log.resources": -ENOMEM, ERR_CRYPTO
 *
 * The end of a log that was cut between two events does not show here, but in its replay.
 */
int eventlog_parse(const uint8_t *log, size_t n, uint16_t bank, struct eventlog **out,
		   const char **id, struct fault *f) MUST_CHECK;
void eventlog_free(struct eventlog *l);

/* The events behind the header, EV_NO_ACTION (never measured) among them; NULL for an I beyond. */
size_t eventlog_count(const struct eventlog *l);
const struct event *eventlog_event(const struct eventlog *l, size_t i);

/*
 * 1 if event I's data hashes to its digest, all of it: only then does the data say something.  0
 * for other data, for the types where it never does (images, whose digest is Authenticode's,
 * EV_IPL, blobs), and where the hash cannot be worked out.  EV_EFI_VARIABLE_BOOT depends on the
 * firmware.
 */
int eventlog_data_measured(const struct eventlog *l, size_t i);

/*
 * 1 if event I is measured and stands before its PCR's separator (PCRs 0 to 7; 0 for others): then
 * the firmware measured it.  What comes behind anyone may have extended who ran later, with a
 * digest and a type of his choice.
 */
int eventlog_by_firmware(const struct eventlog *l, size_t i);

/* What the PCRs 0 to 16 would be after this log: all of them, with the reset value (and the startup
 * locality's in PCR 0) where there is no event.  ERR_CRYPTO. */
int eventlog_replay(const struct eventlog *l, struct pcrs *out) MUST_CHECK;

#endif
