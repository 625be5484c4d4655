/* SPDX-License-Identifier: BSD-3-Clause */
/* cmocka, with the headers it forgets to include. */
#ifndef SHIELDVM_TESTS_UNIT_TEST_H
#define SHIELDVM_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
