/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/landlock.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* include/uapi/linux/landlock.h of Linux 6.15, in full: a kernel takes what it does not know of a
 * longer structure if it is zero. */
struct attributes {
	uint64_t files, net, scopes;
};
struct __attribute__((packed)) path_beneath {
	uint64_t allowed;
	int32_t folder;
};
#define GET_VERSION (1U << 0)
struct __attribute__((packed)) net_port {
	uint64_t allowed, port;
};
#define RULE_PATH_BENEATH 1
#define RULE_NET_PORT	  2

/* Rights over files. */
#define WRITE_FILE	  (1ULL << 1)
#define READ_FILE	  (1ULL << 2)
#define REMOVE_FILE	  (1ULL << 5)
#define MAKE_CHAR	  (1ULL << 6)
#define MAKE_REG	  (1ULL << 8)
#define MAKE_SOCK	  (1ULL << 9)
#define TRUNCATE	  (1ULL << 14)

#define CONNECT_TCP	  (1ULL << 1)

static const struct {
	int abi;	/* from which on the kernel knows them */
	uint64_t files; /* rights */
	uint64_t net;
} KNOWN[] = {
	{ 1, (1ULL << 13) - 1, 0 },		  /* 5.13: EXECUTE ... MAKE_SYM */
	{ 2, 1ULL << 13, 0 },			  /* 5.19: REFER */
	{ 3, TRUNCATE, 0 },			  /* 6.2 */
	{ LANDLOCK_ABI_NET, 0, (1ULL << 2) - 1 }, /* 6.7: BIND_TCP, CONNECT_TCP */
	{ 5, 1ULL << 15, 0 },			  /* 6.10: IOCTL_DEV */
};

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, GET_VERSION);
	return abi < 0 ? -errno : (int)abi;
}

static int create(const struct attributes *a)
{
	long fd = syscall(SYS_landlock_create_ruleset, a, sizeof(*a), 0);
	return fd < 0 ? -errno : (int)fd;
}

static int restrict_self(int ruleset)
{
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}

int landlock_scope(unsigned int scopes)
{
	CLEANUP_FD int ruleset = create(&(struct attributes){ .scopes = scopes });
	return ruleset < 0 ? ruleset : restrict_self(ruleset);
}

int landlock_deny(int abi, unsigned int scopes, int folder, enum landlock_grant grant)
{
	return landlock_deny_but(abi, scopes, folder, grant, NULL, 0);
}

/* What GRANT is under a folder, as far as HANDLED has it. */
static uint64_t granted(enum landlock_grant grant, uint64_t handled)
{
	switch (grant) {
	case LANDLOCK_READ:
		return READ_FILE;
	case LANDLOCK_OPEN:
		return REMOVE_FILE | MAKE_REG | (handled & (READ_FILE | WRITE_FILE | TRUNCATE));
	case LANDLOCK_RENAME:
		return REMOVE_FILE | MAKE_REG;
	case LANDLOCK_LISTEN:
		return REMOVE_FILE | MAKE_SOCK;
	}
	return 0;
}

int landlock_deny_but(int abi, unsigned int scopes, int folder, enum landlock_grant grant,
		      const uint16_t *ports, size_t n)
{
	struct attributes a = { .scopes = abi >= LANDLOCK_ABI_SCOPE ? scopes : 0 };
	for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++) {
		if (KNOWN[i].abi > abi)
			continue;
		a.files |= KNOWN[i].files;
		a.net |= KNOWN[i].net;
	}
	/* A right is granted for one port at a time; for all of them, it is not handled. */
	if (grant == LANDLOCK_LISTEN)
		a.net = 0;
	const struct path_beneath rule = { granted(grant, a.files), folder };
	CLEANUP_FD int ruleset = create(&a);
	if (ruleset < 0)
		return ruleset;
	if (folder >= 0 && syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	for (size_t i = 0; a.net && i < n; i++) {
		const struct net_port port = { CONNECT_TCP, ports[i] };
		if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &port, 0) < 0)
			return -errno;
	}
	return restrict_self(ruleset);
}

int landlock_apart(void)
{
	int abi = landlock_abi();
	if (abi < 0)
		return abi;
	if (abi >= LANDLOCK_ABI_SCOPE)
		return landlock_scope(LANDLOCK_ABSTRACT_SOCKETS | LANDLOCK_SIGNALS);
	/* A ruleset must handle something; devices are made with CAP_MKNOD anyway. */
	CLEANUP_FD int ruleset = create(&(struct attributes){ .files = MAKE_CHAR });
	return ruleset < 0 ? ruleset : restrict_self(ruleset);
}
