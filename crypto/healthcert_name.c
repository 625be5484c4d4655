/* SPDX-License-Identifier: BSD-3-Clause */
/* Apart from crypto/healthcert.c, whose CA code is not for the worker, which reads protectors. */
#include "crypto/healthcert.h"

const char *healthcert_assurance_name(enum healthcert_assurance assurance)
{
	return assurance == HEALTHCERT_TPM ? "tpm" : "hostkey";
}

int healthcert_assurance_parse(const char *text, enum healthcert_assurance *out)
{
	for (enum healthcert_assurance a = HEALTHCERT_TPM; a <= HEALTHCERT_HOSTKEY; a++) {
		if (strcmp(text, healthcert_assurance_name(a)) == 0) {
			*out = a;
			return 0;
		}
	}
	return ERR_FORMAT;
}
