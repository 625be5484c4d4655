/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/attest/swtpm_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#include "base/fd.h"
#include "tests/unit/test.h"

#define START_TRIES 200 /* times 50 ms */

/* Run COMMAND by the shell in the folder, for 60 seconds at most; its exit status. */
static int run(const struct swtpm_bed *b, const char *command)
{
	char line[1024];
	snprintf(line, sizeof(line), "cd %s && timeout -k 5 60 sh -c '%s' >>log 2>&1", b->folder,
		 command);
	return system(line);
}

static void write_file(const struct swtpm_bed *b, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", b->folder, name);
	FILE *out = fopen(path, "we");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void manufacture(struct swtpm_bed *b)
{
	char text[1024];
	snprintf(text, sizeof(text),
		 "statedir = %s/ca\nsigningkey = %s/ca/signkey.pem\nissuercert = "
		 "%s/ca/issuercert.pem\ncertserial = %s/ca/certserial\n",
		 b->folder, b->folder, b->folder, b->folder);
	write_file(b, "localca.conf", text);
	write_file(b, "localca.options",
		   "--platform-manufacturer maker\n--platform-version 1\n--platform-model model\n");
	snprintf(text, sizeof(text),
		 "create_certs_tool = /usr/bin/swtpm_localca\n"
		 "create_certs_tool_config = %s/localca.conf\n"
		 "create_certs_tool_options = %s/localca.options\n"
		 "active_pcr_banks = sha256\n",
		 b->folder, b->folder);
	write_file(b, "setup.conf", text);
	assert_int_equal(run(b, "swtpm_setup --tpm2 --tpmstate state --create-ek-cert "
				"--config setup.conf --lock-nvram"),
			 0);
}

void swtpm_bed_open(struct swtpm_bed *b, int certified)
{
	*b = (struct swtpm_bed){ 0 };
	if (system("command -v swtpm swtpm_setup swtpm_localca tpm2_createek >/dev/null 2>&1") !=
	    0) {
		const char *must = getenv("MUST_WORK");
		if (must && strcmp(must, "1") == 0)
			fail_msg("swtpm, swtpm-tools or tpm2-tools are missing");
		skip();
	}
	snprintf(b->folder, sizeof(b->folder), "/tmp/shieldvm-swtpm-XXXXXX");
	assert_non_null(mkdtemp(b->folder));
	snprintf(b->tcti, sizeof(b->tcti), "swtpm:path=%s/socket", b->folder);
	assert_int_equal(run(b, "mkdir state"), 0);
	if (certified)
		manufacture(b);
}

void swtpm_bed_start(struct swtpm_bed *b)
{
	pid_t parent = getpid();
	char socket[128];
	snprintf(socket, sizeof(socket), "%s/socket", b->folder);
	b->pid = fork();
	assert_true(b->pid >= 0);
	if (b->pid == 0) {
		/* It ends with the test, however that ends. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent || chdir(b->folder) < 0)
			_exit(1);
		execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", "dir=state", "--server",
		       "type=unixio,path=socket", "--ctrl", "type=unixio,path=socket.ctrl",
		       "--flags", "not-need-init,startup-clear", "--log", "file=swtpm.log",
		       (char *)NULL);
		_exit(1);
	}
	for (int i = 0; i < START_TRIES; i++) {
		struct stat st;
		if (stat(socket, &st) == 0)
			return;
		usleep(50000);
	}
	fail_msg("swtpm does not start");
}

void swtpm_bed_stop(struct swtpm_bed *b)
{
	if (b->pid <= 0)
		return;
	kill(b->pid, SIGTERM);
	int status;
	for (int i = 0; i < START_TRIES && waitpid(b->pid, &status, WNOHANG) == 0; i++) {
		if (i == START_TRIES / 2)
			kill(b->pid, SIGKILL);
		usleep(20000);
	}
	b->pid = 0;
	char path[128];
	snprintf(path, sizeof(path), "%s/socket", b->folder);
	unlink(path);
}

void swtpm_bed_done(struct swtpm_bed *b)
{
	swtpm_bed_stop(b);
	if (b->folder[0]) {
		char line[128];
		snprintf(line, sizeof(line), "rm -r %s", b->folder);
		assert_int_equal(system(line), 0);
	}
	b->folder[0] = 0;
}

static ESYS_CONTEXT *connect_tpm(struct swtpm_bed *b, TSS2_TCTI_CONTEXT **tcti)
{
	ESYS_CONTEXT *esys = NULL;
	assert_int_equal(Tss2_TctiLdr_Initialize(b->tcti, tcti), TSS2_RC_SUCCESS);
	assert_int_equal(Esys_Initialize(&esys, *tcti, NULL), TSS2_RC_SUCCESS);
	return esys;
}

static void disconnect(ESYS_CONTEXT *esys, TSS2_TCTI_CONTEXT *tcti)
{
	Esys_Finalize(&esys);
	Tss2_TctiLdr_Finalize(&tcti);
}

void swtpm_bed_extend(struct swtpm_bed *b, unsigned pcr, uint8_t byte)
{
	TSS2_TCTI_CONTEXT *tcti = NULL;
	ESYS_CONTEXT *esys = connect_tpm(b, &tcti);
	TPML_DIGEST_VALUES values = { .count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256 };
	memset(values.digests[0].digest.sha256, byte, 32);
	assert_int_equal(
		Esys_PCR_Extend(esys, pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &values),
		TSS2_RC_SUCCESS);
	disconnect(esys, tcti);
}

void swtpm_bed_store(struct swtpm_bed *b, uint32_t index, const uint8_t *data, size_t n,
		     int owner_reads)
{
	TSS2_TCTI_CONTEXT *tcti = NULL;
	ESYS_CONTEXT *esys = connect_tpm(b, &tcti);
	ESYS_TR nv;
	TPM2B_AUTH no_password = { 0 };
	TPM2B_NV_PUBLIC area = { .nvPublic = { .nvIndex = index,
					       .nameAlg = TPM2_ALG_SHA256,
					       .attributes = TPMA_NV_OWNERWRITE | TPMA_NV_NO_DA |
							     (owner_reads ? TPMA_NV_OWNERREAD
									  : TPMA_NV_AUTHREAD),
					       .dataSize = (UINT16)n } };
	assert_int_equal(Esys_NV_DefineSpace(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					     ESYS_TR_NONE, &no_password, &area, &nv),
			 TSS2_RC_SUCCESS);
	for (size_t at = 0; at < n;) {
		TPM2B_MAX_NV_BUFFER chunk = { .size = (UINT16)(n - at < 512 ? n - at : 512) };
		memcpy(chunk.buffer, data + at, chunk.size);
		assert_int_equal(Esys_NV_Write(esys, ESYS_TR_RH_OWNER, nv, ESYS_TR_PASSWORD,
					       ESYS_TR_NONE, ESYS_TR_NONE, &chunk, (UINT16)at),
				 TSS2_RC_SUCCESS);
		at += chunk.size;
	}
	disconnect(esys, tcti);
}

void swtpm_bed_ek(struct swtpm_bed *b, const char *algorithm, struct buf *pub)
{
	char text[512];
	struct fault f = { 0 };
	snprintf(text, sizeof(text),
		 "rm -f ek.pub && export TPM2TOOLS_TCTI=%s && tpm2_createek -c ek.ctx -G %s -u "
		 "ek.pub && tpm2_flushcontext -t",
		 b->tcti, algorithm);
	assert_int_equal(run(b, text), 0);
	snprintf(text, sizeof(text), "%s/ek.pub", b->folder);
	if (fd_read_file(AT_FDCWD, text, pub, &f) < 0)
		fail_msg("%s", f.text);
	/* It writes TPM2B_PUBLIC. */
	assert_true(pub->len > 2 && (size_t)(pub->data[0] << 8 | pub->data[1]) + 2 == pub->len);
	buf_consume(pub, 2);
}

void swtpm_bed_cert(struct swtpm_bed *b, const char *name, struct buf *pem)
{
	char path[256];
	struct fault f = { 0 };
	snprintf(path, sizeof(path), "%s/ca/%s", b->folder, name);
	if (fd_read_file(AT_FDCWD, path, pem, &f) < 0)
		fail_msg("%s", f.text);
}
