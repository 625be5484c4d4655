/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/registers.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <stdatomic.h>
#include <stdint.h>

/* x87, SSE, AVX, opmask, the upper halves of ZMM0 to 15, ZMM16 to 31.  Those that a processor or
 * kernel does not have are passed over. */
#define COMPONENTS 0xe7U

/*
 * What XRSTOR reads of a state in which every component is initial: the legacy part, of it only
 * MXCSR, and a header whose XSTATE_BV says so (Intel SDM 1, 13.8).  A processor may reach for the
 * other components too, whose last one ends at 2688: without the room for them it would meet what
 * happens to be mapped behind, or nothing.
 */
static const struct {
	uint8_t legacy_front[24];
	uint32_t mxcsr;
	uint8_t legacy_rest[484];
	uint64_t header[8];
	uint8_t extended[4096 - 576];
} initial __attribute__((aligned(64))) = { .mxcsr = 0x1f80 };
_Static_assert(sizeof(initial) == 4096, "legacy part, header, and more than any component");

static int has_xsave(void)
{
	static atomic_int known; /* 1: no, 2: yes.  CPUID is slow in a virtual machine. */
	int is = atomic_load_explicit(&known, memory_order_relaxed);
	if (!is) {
		unsigned int a, b, c = 0, d;
		is = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) ? 2 : 1;
		atomic_store_explicit(&known, is, memory_order_relaxed);
	}
	return is == 2;
}

#define XMM_REGISTERS                                                                              \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

void registers_clear(void)
{
	if (has_xsave())
		__asm__ volatile("xrstor64 %0"
				 :
				 : "m"(initial), "a"(COMPONENTS), "d"(0)
				 : XMM_REGISTERS, "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)",
				   "st(6)", "st(7)");
	else
		__asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2;"
				 "pxor %%xmm3, %%xmm3; pxor %%xmm4, %%xmm4; pxor %%xmm5, %%xmm5;"
				 "pxor %%xmm6, %%xmm6; pxor %%xmm7, %%xmm7; pxor %%xmm8, %%xmm8;"
				 "pxor %%xmm9, %%xmm9; pxor %%xmm10, %%xmm10; pxor %%xmm11, "
				 "%%xmm11; pxor %%xmm12, %%xmm12; pxor %%xmm13, %%xmm13; pxor "
				 "%%xmm14, %%xmm14; pxor %%xmm15, %%xmm15"
				 :
				 :
				 : XMM_REGISTERS);
}

#else

void registers_clear(void)
{
}

#endif
