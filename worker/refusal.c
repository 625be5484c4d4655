/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/refusal.h"

#include "base/log.h"

void refusal_record(const char *rule, const char *channel, const char *request)
{
	log_warning("refused: %s: %s over the %s", rule, request, channel);
}
