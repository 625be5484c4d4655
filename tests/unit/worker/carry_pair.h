/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two hosts, each with a bed of its own (carry_bed.h), and with brokers that record and listen.
 */
#ifndef SHIELDVM_TESTS_CARRY_PAIR_H
#define SHIELDVM_TESTS_CARRY_PAIR_H

#include <netinet/in.h>
#include <pthread.h>

#include "tests/unit/worker/carry_bed.h"
#include "worker/door.h"

/* The broker's part: it records, and listens. */
struct broker {
	int link;
	pthread_t thread;
	struct door_limits doors;
	char records[2048]; /* every reason, a line each; to be read when the thread has ended */
};
/* Two hosts. */
struct pair {
	struct bed from, to;
	struct broker broker[2];
	int link[2];
	int port;
	char uri[160];	 /* where the VM is to come in: that port, if nobody says otherwise */
	char folder[32]; /* the working folder, where sockets are; "": it is not used */
	int tcp;	 /* libvirt's connection between them, a second descriptor of it */
};

/* What both hosts have for it in the tests' VM; they are one machine. */
#define PAIR_FOLDER PATH_RUN "/01000000-0000-0000-0000-000000000000/" FOLDER_MIGRATION

#define COMPLETED   "\"return\": {\"status\": \"completed\"}"

void pair_start(struct pair *p, const struct making *there);
void pair_end(struct pair *p);

/* A socket, and where to connect it to. */
int tcp_socket(struct sockaddr_in *a, int port);

/* The VM is to come in over a socket with a path; pair_end() looks that none is left. */
void pair_by_path(struct pair *p);

/* Wait until nobody has NAME in the working folder any more. */
void no_more(struct pair *p, const char *name);

/* A port of this machine that nobody has. */
int some_port(void);

/* A connection to a port of this machine; to a socket in the working folder. */
int connection(int port);
int path_connection(const char *name);

/* The destination listens, and its QEMU waits. */
void prepare_to(struct pair *p);

/* libvirt makes the connection and has the source migrate over it; begin_from() goes on until
 * libvirt has its answer, and QEMU its end. */
void ask_from(struct pair *p);
void begin_from(struct pair *p);

/* All of it crosses, and a word back. */
void cross(struct pair *p);

/* Both QEMUs end in order. */
void finish(struct pair *p);

/* Make a TPM, whose permanent state is BLOB; and have it come in, as QEMU does it. */
void vtpm_make(struct vtpm *vtpm, struct buf *blob);
void vtpm_comes(struct vtpm *vtpm, const struct buf *blob);

#endif
