/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/compromised/attacker.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* In one place, so that whoever tells can point into it. */
static struct attack step;

void attacker_name(void)
{
	(void)prctl(PR_SET_NAME, "compromised", 0, 0, 0);
}

static int64_t call_64(uint64_t number, const uint64_t a[6])
{
	register uint64_t r10 __asm__("r10") = a[3];
	register uint64_t r8 __asm__("r8") = a[4];
	register uint64_t r9 __asm__("r9") = a[5];
	int64_t result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static int64_t call_32(uint64_t number, const uint64_t a[6])
{
	int64_t result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
			 : "r8", "r9", "r10", "r11", "memory");
	return result;
}

static void take_step(const int knows[static ATTACK_KNOWS])
{
	void (*code)(void);
	void *data = step.blob;
	switch ((enum attack_kind)step.kind) {
	case ATTACK_KNOW:
		step.number = (uint64_t)(uintptr_t)step.blob;
		for (int i = 0; i < ATTACK_KNOWS; i++)
			step.args[i] = (uint64_t)(int64_t)knows[i];
		break;
	case ATTACK_CALL:
		step.result = call_64(step.number, step.args);
		break;
	case ATTACK_CALL_32:
		step.result = call_32(step.number, step.args);
		break;
	case ATTACK_JUMP:
		memcpy(&code, &data, sizeof(code));
		code();
		break;
	case ATTACK_POKE:
		code = attacker_name;
		memcpy(&data, &code, sizeof(data));
		*(volatile uint8_t *)data = 0xc3;
		break;
	}
}

/* sendmsg(2) and recvmsg(2): what both tables have. */
static int transfer(int sock, int out)
{
	for (size_t done = 0; done < sizeof(step);) {
		struct iovec iov = { (char *)&step + done, sizeof(step) - done };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n = out ? sendmsg(sock, &msg, MSG_NOSIGNAL) : recvmsg(sock, &msg, 0);
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

void attacker_serve(int sock, const int knows[static ATTACK_KNOWS])
{
	while (transfer(sock, 0) == 0) {
		take_step(knows);
		if (transfer(sock, 1) < 0)
			return;
	}
}
