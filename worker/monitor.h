/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The monitor firewall: between libvirt's QMP connection and QEMU's.
 *
 * Theory of operation.  libvirt listens for QEMU's monitor and hands QEMU the listener; the
 * launcher gives it to the broker instead, the broker to the worker (monitor_listen()), and
 * QEMU gets a listener of ours on which the worker's connection already waits.  So libvirt
 * connects to the worker, whenever it starts anew too, and nothing but the worker ever speaks
 * to QEMU.
 *
 *  libvirt's lines: are parsed strictly and judged (policy/qmp_rules.h).  What is refused is
 *      answered here with an ordinary QMP error that names the rule.  What passes is written
 *      anew from the parsed tree, with an id of ours, and libvirt's next line waits until QEMU
 *      has answered: order is kept, and QEMU never holds two descriptors.
 *  QEMU's lines: are scanned strictly.  A reply to the outstanding id gets libvirt's id back;
 *      any other is dropped.  Events pass as they are, but for the registers of a crashed
 *      guest.
 *  The handshake: is held with QEMU once; its greeting is kept for every connection of
 *      libvirt's, whose qmp_capabilities is answered here.  Out-of-band execution is not
 *      offered.
 *  Descriptors: the last one that came since libvirt's last line goes with a getfd or add-fd,
 *      in the same sendmsg(2) as the line's first byte; others are closed.
 *
 * Nothing blocks, so a peer that stalls holds up itself: libvirt is read only while QEMU owes
 * nothing, QEMU only while libvirt takes what it is sent.  A QEMU whose lines make no sense loses
 * its monitor, and libvirt then ends the VM.
 *
 * Used by: worker/loop.c.  System calls: accept4, recvmsg, sendmsg, close, fcntl, poll.
 */
#ifndef SHIELDVM_WORKER_MONITOR_H
#define SHIELDVM_WORKER_MONITOR_H

#include <poll.h>

#include "base/err.h"
#include "crypto/protector.h"
#include "worker/carry.h"

/* Bytes that wait for libvirt before QEMU is no longer read. */
#define MONITOR_BACKLOG_MAX (1024 * 1024)

#define MONITOR_SLOTS	    4

struct monitor;

/* QEMU is the connected end towards QEMU's listener, taken over on success; LINK leads to the
 * broker, which records refusals (borrowed; -1: nobody does); FACTS are copied, CARRY is borrowed.
 * Before sealing. */
int monitor_new(int qemu, int link, const struct protector_facts *facts, struct carry *carry,
		struct monitor **out) MUST_CHECK;
void monitor_free(struct monitor *m);

/* LISTENER is libvirt's, taken over.  A former one and its connection are closed. */
void monitor_listen(struct monitor *m, int listener);

/* For poll(2): what is waited for now (-1 for slots not in use), and what came of it. */
void monitor_slots(const struct monitor *m, struct pollfd slots[static MONITOR_SLOTS]);
void monitor_serve(struct monitor *m, const struct pollfd slots[static MONITOR_SLOTS]);

/* The vTPM may have come to what something waits for. */
void monitor_go_on(struct monitor *m);

/* QEMU has ended: hand libvirt what QEMU last said, for at most LIMIT_MS, and hang up. */
void monitor_drain(struct monitor *m, int limit_ms);

#endif
