/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What shieldvm's own programs on one host say to each other: message shapes only, no code.
 *
 * Three conversations, all over AF_UNIX SOCK_SEQPACKET, one struct a message, host byte order
 * (same machine, same build; `magic` and `version` catch a half-upgraded host):
 *
 *  spawn: hook -> worker, over the socket the worker inherits as descriptor SPAWN_FD.  The hook
 *      sends one spawn_request with the protector's text behind it; the worker answers with at
 *      most one SPAWN_ASK_KEY (answered with a spawn_key) if only a guardian can give it the key,
 *      any number of SPAWN_SIGN_EK (each answered by the hook with a certificate), then one
 *      SPAWN_READY or SPAWN_REFUSED.  The socket is then closed: nothing of libvirtd's stays
 *      open in the worker.
 *  launch: launcher -> broker, PATH_RUN/UUID/launch.sock.  One launch_request, one
 *      launch_reply; on success the reply carries QEMU's end of the vTPM's control channel
 *      (SCM_RIGHTS).  Given once.
 *  control: hook, shieldvm -> broker, PATH_RUN/UUID/control.sock (root only).  One request, one
 *      reply.
 */
#ifndef SHIELDVM_BASE_SPAWN_H
#define SHIELDVM_BASE_SPAWN_H

#include <stdint.h>

#include "base/err.h"
#include "base/protections.h"
#include "base/uuid.h"

#define SPAWN_MAGIC	  0x53485644U /* "SHVD" */
#define SPAWN_VERSION	  7
#define SPAWN_FD	  3
/* All of the environment that the worker starts with; the second with the value "1". */
#define SPAWN_ENVIRONMENT "OPENSSL_CONF=/dev/null"
#define SPAWN_BIND	  "LD_BIND_NOW"
#define SPAWN_NAME_MAX                                                                             \
	256 /* bytes of a domain's name, with the NUL; longer names are cut for the log */
#define SPAWN_MESSAGE_MAX 131072
#define SPAWN_TIMEOUT_MS                                                                           \
	30000 /* how long the hook waits for SPAWN_READY: first start makes two EKs.  Asking a     \
	       * guardian has a time of its own, ASK_TIMEOUT_MS (base/ask.h) */
#define LAUNCH_TIMEOUT_MS 10000	 /* how long the launcher waits for its reply */
#define LAUNCH_WINDOW_MS  300000 /* a worker whose launcher has not come by then ends */
#define STOP_TIMEOUT_MS	  10000	 /* how long release waits for the worker to end */

struct spawn_request {
	uint32_t magic, version;
	uint8_t vm[UUID_BYTES];
	uint32_t worker_uid; /* this VM's, also its gid */
	uint32_t qemu_uid;   /* who may launch, besides root */
	uint32_t may_be_new; /* 1: absent vTPM state is manufactured */
	uint32_t comes;	     /* 1: the VM, and its vTPM's state, is to come from another host */
	uint32_t protector_bytes;
	char name[SPAWN_NAME_MAX]; /* the domain's, for the log and `shieldvm status` */
				   /* protector_bytes of text follow */
};

enum spawn_kind { SPAWN_SIGN_EK = 1, SPAWN_READY, SPAWN_REFUSED, SPAWN_ASK_KEY };

#define SPAWN_POINT_BYTES   65	/* a P-256 key, uncompressed */
#define SPAWN_INNER_BYTES   138 /* crypto/keyrelease.h, KEYRELEASE_INNER_BYTES */
#define SPAWN_REQUEST_BYTES 16
#define SPAWN_HEALTH_MAX    1536 /* crypto/healthcert.h, HEALTHCERT_MAX */

struct spawn_reply {
	uint32_t magic, version;
	uint32_t kind; /* enum spawn_kind */
	int32_t rc;    /* SPAWN_REFUSED: the error */
	union {
		char text[FAULT_TEXT_MAX]; /* SPAWN_REFUSED: the sentence */
		struct {		   /* SPAWN_SIGN_EK: crypto/ekca.h struct ek_public */
			uint32_t type;
			uint8_t rsa_modulus[256];
			uint8_t ecc_x[48], ecc_y[48];
		} ek;
		uint32_t made; /* SPAWN_READY: 1 if the vTPM was manufactured just now */
		struct {       /* SPAWN_ASK_KEY */
			uint8_t worker[SPAWN_POINT_BYTES]; /* its ephemeral key */
			uint64_t state_version; /* of the vTPM state that it starts from, as its
						 * file says; 0: there is none */
		} ask;
	};
};

/* What the guardian released, as far as the host can open it.  A refusal never gets here: the hook
 * ends the worker. */
struct spawn_key {
	uint32_t magic, version;
	uint8_t request[SPAWN_REQUEST_BYTES];
	uint8_t inner[SPAWN_INNER_BYTES];
	uint64_t restore; /* the older version that the owner's ticket lets it have, which INNER is
			   * bound to; 0: none, 2^64-1: version 0 */
	uint32_t certificate_bytes;
	uint8_t certificate[SPAWN_HEALTH_MAX];
};

#define SPAWN_CERT_MAX 2048
struct spawn_certificate {
	uint32_t magic, version;
	int32_t rc; /* < 0: could not be signed */
	uint32_t bytes;
	uint8_t der[SPAWN_CERT_MAX];
};

/*
 * launch_request carries libvirt's monitor listener and behind it, for a start from saved state,
 * the descriptors that QEMU could only have inherited for that, in the order of their numbers in
 * INCOMING_FD; a reply whose rc is 0 carries, in this order,
 * QEMU's ends of the vTPM's control channel and of the lifeline, and the listener that takes the
 * place of libvirt's.
 */
enum { LAUNCH_FD_CTRL, LAUNCH_FD_LIFELINE, LAUNCH_FD_MONITOR, LAUNCH_FDS };

#define LAUNCH_INCOMING_MAX 3 /* libvirt passes one */

struct launch_request {
	uint32_t magic, version;
	uint8_t vm[UUID_BYTES];
	uint32_t incoming;			  /* 1: QEMU waits for state (-incoming defer) */
	uint32_t n_incoming;			  /* descriptors attached for it */
	int32_t incoming_fd[LAUNCH_INCOMING_MAX]; /* what they are called in migrate-incoming */
};

struct launch_reply {
	uint32_t magic, version;
	int32_t rc; /* 0: the descriptors are attached */
	char text[FAULT_TEXT_MAX];
};

enum control_kind {
	CONTROL_ARM = 1,  /* hook start: the launcher may come now */
	CONTROL_LAUNCHED, /* hook started: has the launcher come?  ERR_STATE if not, else `started`
			     is set */
	CONTROL_STOP,	  /* hook release: end; the reply comes after the state is safe */
	CONTROL_STATUS,
};

struct control_request {
	uint32_t magic, version;
	uint32_t kind;
};

struct control_reply {
	uint32_t magic, version;
	int32_t rc;
	uint32_t level;	   /* crypto/protector.h enum shield_level */
	uint32_t launched; /* 1: a QEMU has the vTPM */
	uint32_t started;  /* 1: and libvirt has said since that its start succeeded */
	int32_t worker_pid, broker_pid, qemu_pid;
	uint32_t worker_uid;
	uint64_t started_s;		   /* seconds since the epoch */
	struct protections worker, broker; /* the worker's once its level is known */
	char name[SPAWN_NAME_MAX];
	char text[FAULT_TEXT_MAX];
};

#endif
