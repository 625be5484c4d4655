/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a machine's logs are those of its PCRs: replays an event log and a measurement list to
 * what tpm2_pcrread printed, in each bank that it printed and the log has.
 *
 *   replay EVENTLOG LIST PCRS
 *
 * Exit: 0 if all of PCRs 0 to 16 come out in each bank (PCR 10 in that of LIST's boot aggregate,
 * which is that of the PCRs), and Secure Boot is on, its variables measured before PCR 7's
 * separator; 1 with a line that says what is not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/efi.h"
#include "attest/eventlog.h"
#include "attest/ima.h"

#define REPLAYED 17

static uint8_t log_bytes[EVENTLOG_BYTES_MAX], list_bytes[IMA_BYTES_MAX];
static size_t log_n, list_n;

static int no(const char *what, const struct fault *f)
{
	printf("%s: %s\n", what, f && f->text[0] ? f->text : "not as it should be");
	return 1;
}

static size_t read_file(const char *path, uint8_t *to, size_t room)
{
	FILE *file = fopen(path, "rb");
	size_t n = file ? fread(to, 1, room, file) : 0;
	if (file)
		fclose(file);
	return n;
}

/* The values of a bank in tpm2_pcrread's output: "  sha256:", then "    0 : 0xHEX" ... */
static int read_pcrs(const char *path, uint16_t bank, struct pcrs *out)
{
	char line[256];
	FILE *file = fopen(path, "r");
	int here = 0;
	*out = (struct pcrs){ .bank = bank };
	while (file && fgets(line, sizeof(line), file)) {
		char name[32], hex[2 * HASH_BYTES_MAX + 1];
		unsigned pcr;
		if (sscanf(line, " %31[a-z0-9]:", name) == 1 && strncmp(name, "sha", 3) == 0) {
			here = strcmp(name, hash_name(bank)) == 0;
		} else if (here && sscanf(line, " %u : 0x%128[0-9A-F]", &pcr, hex) == 2) {
			if (pcr >= PCR_COUNT || strlen(hex) != 2 * hash_bytes(bank))
				break;
			for (size_t i = 0; i < hash_bytes(bank); i++) {
				char digits[3] = { hex[2 * i], hex[2 * i + 1], '\0' };
				out->value[pcr][i] = (uint8_t)strtoul(digits, NULL, 16);
			}
			out->mask |= 1u << pcr;
		}
	}
	if (file)
		fclose(file);
	return out->mask != 0;
}

/* Each of Secure Boot's variables once, by the firmware, with data that was measured. */
static int secure_boot(const struct eventlog *log)
{
	static const struct {
		enum efi_variable_id which;
		const char *name;
	} WANTED[] = { { EFI_SECURE_BOOT, "SecureBoot" },
		       { EFI_PK, "PK" },
		       { EFI_KEK, "KEK" },
		       { EFI_DB, "db" },
		       { EFI_DBX, "dbx" } };
	unsigned seen[sizeof(WANTED) / sizeof(WANTED[0])] = { 0 };
	for (size_t i = 0; i < eventlog_count(log); i++) {
		const struct event *e = eventlog_event(log, i);
		struct efi_variable v;
		struct fault f = { 0 };
		if (e->type == EV_EFI_BOOT_SERVICES_APPLICATION) {
			struct efi_image image;
			if (efi_image_parse(e->data, e->data_bytes, &image, &f) < 0)
				return no("image", &f);
		}
		if (e->type != EV_EFI_VARIABLE_DRIVER_CONFIG)
			continue;
		if (!eventlog_by_firmware(log, i) || !eventlog_data_measured(log, i) ||
		    efi_variable_parse(e->data, e->data_bytes, &v, &f) < 0)
			return no("variable", &f);
		for (size_t j = 0; j < sizeof(WANTED) / sizeof(WANTED[0]); j++)
			seen[j] += v.which == WANTED[j].which;
		if (v.which == EFI_SECURE_BOOT && efi_variable_flag(&v, &f) != 1)
			return no("SecureBoot", &f);
		struct efi_signatures it;
		struct efi_signature s;
		int rc = 0, databases = v.which >= EFI_PK && v.which <= EFI_DBX;
		if (databases)
			efi_signatures_start(&it, v.data, v.data_bytes);
		while (databases && (rc = efi_signatures_next(&it, &s, &f)) > 0)
			;
		if (rc < 0)
			return no(v.name, &f);
	}
	for (size_t j = 0; j < sizeof(WANTED) / sizeof(WANTED[0]); j++)
		if (seen[j] != 1)
			return no(WANTED[j].name, NULL);
	return 0;
}

static int one_bank(const char *bank, struct pcrs *read)
{
	struct pcrs got;
	struct fault f = { 0 };
	struct eventlog *log = NULL;
	struct ima *list = NULL;
	const char *id = NULL;
	size_t n = 0;
	int bad = 0;
	if (eventlog_parse(log_bytes, log_n, read->bank, &log, &id, &f) < 0)
		return no(id, &f);
	if (eventlog_replay(log, &got) < 0)
		bad = no("replay", NULL);
	for (int i = 0; !bad && i < REPLAYED; i++)
		if (i != 10 && memcmp(got.value[i], read->value[i], hash_bytes(read->bank)) != 0) {
			printf("%s: PCR %d is not what the log replays to\n", bank, i);
			bad = 1;
		}
	if (!bad)
		bad = secure_boot(log);
	if (!bad && ima_parse(list_bytes, list_n, &list, &id, &f) < 0)
		bad = no(id, &f);
	int rc = bad ? 0 : ima_check_aggregate(list, read, &f);
	if (!bad && rc < 0 && rc != ERR_VERSION)
		bad = no("ima.boot-aggregate", &f);
	/* In a bank that is not the kernel's own it may have extended SHA-1 digests. */
	if (!bad && rc == 0 && ima_match(list, read->bank, read->value[10], &n, &f) < 0)
		bad = no("ima.replay", &f);
	if (!bad && rc == 0)
		printf("%s: %zu events, %zu entries, boot aggregate good\n", bank,
		       eventlog_count(log), n);
	else if (!bad)
		printf("%s: %zu events\n", bank, eventlog_count(log));
	ima_free(list);
	eventlog_free(log);
	return bad;
}

int main(int argc, char **argv)
{
	static const uint16_t BANKS[] = { HASH_SHA256, HASH_SHA384, HASH_SHA512 };
	int banks = 0, bad = 0;
	if (argc != 4)
		return 2;
	log_n = read_file(argv[1], log_bytes, sizeof(log_bytes));
	list_n = read_file(argv[2], list_bytes, sizeof(list_bytes));
	for (size_t i = 0; i < 3 && !bad; i++) {
		struct pcrs read;
		if (!read_pcrs(argv[3], BANKS[i], &read))
			continue;
		banks++;
		bad = one_bank(hash_name(BANKS[i]), &read);
	}
	return bad || !banks;
}
