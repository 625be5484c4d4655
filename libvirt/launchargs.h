/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the launcher makes of what it was given: which kind of start it is, QEMU's environment, and
 * QEMU's argument vector with a descriptor in place of the TPM's socket.
 *
 * May be used by: the launcher; libc and malloc(3) only.
 */
#ifndef SHIELDVM_LIBVIRT_LAUNCHARGS_H
#define SHIELDVM_LIBVIRT_LAUNCHARGS_H

#include "policy/qemu_args.h"

enum launchargs_kind {
	LAUNCHARGS_PROBE,    /* libvirt's capability probe: no guest */
	LAUNCHARGS_TELL,     /* one of -version, -help: QEMU prints and ends */
	LAUNCHARGS_SHIELDED, /* everything else */
};

enum launchargs_kind launchargs_kind(int argc, char *const *argv);

/*
 * A new environment for QEMU out of OLD: LC_ALL and PATH as libvirt sets them, whatever they were;
 * HOME, USER, LOGNAME and the XDG folders if they are short and printable; QEMU_AUDIO_DRV if it is
 * "none".  Everything else is dropped, LD_* and GCONV_PATH above all.  malloc(3)ed, NULL on
 * -ENOMEM.
 */
char **launchargs_environment(char *const *old);

/*
 * 1 if an argument mentions descriptor FD ("fd=N", "fds=A:N", "fd":"N"), so that it is QEMU's own.
 * May say 1 for one that is not, never 0 for one that is.
 */
int launchargs_names_fd(int argc, char *const *argv, int fd);

/*
 * A copy of ARGV for QEMU: argv[0] is PROGRAM, and the TPM's chardev (ARGS) is FD instead of a
 * path. malloc(3)ed, NULL on -ENOMEM.  Strings belong to ARGV and PROGRAM.
 */
char **launchargs_vector(int argc, char *const *argv, const char *program,
			 const struct qemu_args *args, int fd);

#endif
