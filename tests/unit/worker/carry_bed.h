/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A libvirt and a QEMU that a test plays, with the firewall and a real transfer between them.  All
 * of it asserts.
 */
#ifndef SHIELDVM_TESTS_CARRY_BED_H
#define SHIELDVM_TESTS_CARRY_BED_H

#include "tests/unit/test.h"

#include "crypto/stream.h"
#include "worker/monitor.h"

#define WAIT_MS	      10000
#define STATE_RECORDS 20 /* and a short one */
#define STATE_BYTES   (STATE_RECORDS * STREAM_RECORD_BYTES + 1000)
#define EVENT(status)                                                                              \
	"{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"MIGRATION\", "        \
	"\"data\": {\"status\": \"" status "\"}}\r\n"

struct bed {
	struct transfer *transfer;
	struct disks *disks;
	struct live *live;
	struct carry *carry;
	struct monitor *m;
	int qemu, libvirt;
	char from_qemu[4096];	 /* what the worker has said to QEMU, not looked at yet */
	char from_libvirt[8192]; /* likewise to libvirt */
	int qemus_fd;		 /* came with it */
	int qemus_door;		 /* brings QEMU's connections, as the broker does */
	int qemus;		 /* the worker's end of that */
	int id;			 /* of QEMU's last answer */
	struct bed *other;	 /* goes on meanwhile; NULL: none */
};

/* What QEMU has to say of its state; carry_bed_init() fills it. */
extern uint8_t state_bytes[STATE_BYTES];

/* Once, first. */
void carry_bed_init(void);

/* What a bed is made with; all zero: nothing in particular. */
struct making {
	const struct vm_key *key;
	const struct jwk *owner;
	uint8_t tpm;		       /* first byte of the vTPM's id */
	int link;		       /* to a broker; 0: none */
	int comes;		       /* to be migrated to */
	struct vtpm *vtpm, *from_vtpm; /* a pair's source has that one */
	int open_ms;		       /* for a handshake */
	int word_ms, from_word_ms; /* for the other host's word; the second: of a pair's source */
};

void start_with(struct bed *b, enum shield_level level, const char *allow,
		const struct making *making);
void start_as(struct bed *b, enum shield_level level, const char *allow);
void start(struct bed *b);
void end(struct bed *b);

/* One turn of the worker; and taking what it has said. */
void turn(struct bed *b);
void step(struct bed *b);

/* Wait until TEXT has WANT, and forget everything up to its end. */
void await(struct bed *b, char *text, const char *want);

#define libvirt_gets(b, want) await(b, (b)->from_libvirt, want)
#define qemu_gets(b, want)    await(b, (b)->from_qemu, want)

/* Nothing that has WANT in it comes for a while. */
void not_yet(struct bed *b, const char *text, const char *want);

void say(int fd, const char *text);

/* QEMU answers its last command with VALUE. */
void qemu_answers(struct bed *b, const char *value);

#define OK "\"return\": {}"
#define MIGRATE                                                                                    \
	"{\"execute\":\"migrate\",\"arguments\":{\"detach\":true,\"uri\":\"fd:migrate\"},\"id\":"  \
	"\"m\"}\n"
#define INCOMING                                                                                   \
	"{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:23\"},\"id\":\"i\"}\n"
#define CONT "{\"execute\":\"cont\"}\n"

/* An empty file without a name. */
int temporary(void);

/* libvirt hands over FD. */
void hand_over(struct bed *b, const char *name, int fd);

/* A start from state is fine: QEMU gets its pipe, and the command. */
void qemu_takes_over(struct bed *b);

/* libvirt asks how the migration goes. */
void query(struct bed *b, const char *qemu_says, const char *libvirt_hears);

#endif
