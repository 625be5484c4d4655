/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/store_vm.h"

#include <errno.h>

#include "guardian/store_db.h"

int store_certificate_add(struct store *s, const struct store_certificate *c, struct fault *f)
{
	int rc = STORE_RUN(
		s, SQL_CERTIFICATE_ADD, NULL, NULL, f, db_blob(c->serial, sizeof(c->serial)),
		db_blob(c->host, sizeof(c->host)), db_blob(c->bk_hash, sizeof(c->bk_hash)),
		db_blob(c->worker_hash, sizeof(c->worker_hash)), db_integer(c->generation),
		db_integer(c->reset_count), db_integer(c->restart_count), db_integer(c->not_after));
	return rc < 0 ? rc : 0;
}

static int take_certificate(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct store_certificate *c = arg;
	if (n != 8 || db_get_bytes(&row[0], c->serial, sizeof(c->serial)) < 0 ||
	    db_get_bytes(&row[1], c->host, sizeof(c->host)) < 0 ||
	    db_get_bytes(&row[2], c->bk_hash, sizeof(c->bk_hash)) < 0 ||
	    db_get_bytes(&row[3], c->worker_hash, sizeof(c->worker_hash)) < 0 ||
	    db_get_integer(&row[4], &c->generation) < 0 ||
	    db_get_u32(&row[5], &c->reset_count) < 0 ||
	    db_get_u32(&row[6], &c->restart_count) < 0 ||
	    db_get_integer(&row[7], &c->not_after) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds a malformed certificate");
	return 0;
}

int store_certificate_get(struct store *s, const uint8_t serial[static STORE_SERIAL_BYTES],
			  struct store_certificate *out, struct fault *f)
{
	struct store_certificate c = { 0 };
	int rc = STORE_RUN(s, SQL_CERTIFICATE_GET, take_certificate, &c, f,
			   db_blob(serial, STORE_SERIAL_BYTES));
	if (rc == 0)
		return fault_set(f, -ENOENT,
				 "no guardian of this database has issued the certificate, or it "
				 "expired long ago");
	if (rc < 0)
		return rc;
	*out = c;
	return 0;
}

static int take_vm(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct store_vm *v = arg;
	if (n != 9 || db_get_bytes(&row[0], v->vm, sizeof(v->vm)) < 0 ||
	    db_get_text(&row[1], v->owner, sizeof(v->owner)) < 0 ||
	    (row[2].type != DB_NULL && db_get_bytes(&row[2], v->holder, sizeof(v->holder)) < 0) ||
	    db_get_integer(&row[3], &v->token) < 0 || db_get_integer(&row[4], &v->expires) < 0 ||
	    db_get_integer(&row[5], &v->version) < 0 || db_get_integer(&row[6], &v->restores) < 0 ||
	    db_get_integer(&row[7], &v->took) < 0 || db_get_integer(&row[8], &v->edition) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds a malformed VM");
	v->held = row[2].type != DB_NULL;
	return 0;
}

int store_vm_get(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		 struct store_vm *out, struct fault *f)
{
	struct store_vm v = { 0 };
	int rc = STORE_RUN(s, SQL_VM_GET, take_vm, &v, f, db_blob(vm, UUID_BYTES), db_text(owner));
	if (rc == 0)
		return fault_set(f, -ENOENT, "no key was ever released for this VM of this owner");
	if (rc < 0)
		return rc;
	*out = v;
	return 0;
}

/* By the statement SQL, which is about HOLDER and TOKEN. */
static int get_holders(struct store *s, enum store_sql sql, const uint8_t vm[static UUID_BYTES],
		       const uint8_t holder[static UUID_BYTES], int64_t token, struct store_vm *out,
		       struct fault *f)
{
	struct store_vm v = { 0 };
	int rc = STORE_RUN(s, sql, take_vm, &v, f, db_blob(vm, UUID_BYTES),
			   db_blob(holder, UUID_BYTES), db_integer(token));
	if (rc == 0)
		return fault_set(f, -ENOENT,
				 "this is no longer an instance that holds the VM's lease");
	if (rc < 0)
		return rc;
	*out = v;
	return 0;
}

int store_vm_held(struct store *s, const uint8_t vm[static UUID_BYTES],
		  const uint8_t holder[static UUID_BYTES], int64_t token, struct store_vm *out,
		  struct fault *f)
{
	return get_holders(s, SQL_VM_HELD, vm, holder, token, out, f);
}

int store_vm_took(struct store *s, const uint8_t vm[static UUID_BYTES],
		  const uint8_t holder[static UUID_BYTES], int64_t token, struct store_vm *out,
		  struct fault *f)
{
	return get_holders(s, SQL_VM_TOOK, vm, holder, token, out, f);
}

static int take_token(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	if (n != 1 || db_get_integer(&row[0], arg) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds no number where one must be");
	return 0;
}

int store_vm_token(struct store *s, const uint8_t vm[static UUID_BYTES], int64_t *token,
		   struct fault *f)
{
	int rc = STORE_RUN(s, SQL_VM_TOKEN, take_token, token, f, db_blob(vm, UUID_BYTES));
	return rc < 0 ? rc : 0;
}

int store_vm_put(struct store *s, const struct store_vm *v, struct fault *f)
{
	int rc = STORE_RUN(s, SQL_VM_PUT, NULL, NULL, f, db_blob(v->vm, sizeof(v->vm)),
			   db_text(v->owner),
			   v->held ? db_blob(v->holder, sizeof(v->holder)) : db_null(),
			   db_integer(v->token), db_integer(v->expires), db_integer(v->version),
			   db_integer(v->restores), db_integer(v->took), db_integer(v->edition));
	return rc < 0 ? rc : 0;
}

int store_incoming_put(struct store *s, const struct store_incoming *i, struct fault *f)
{
	int rc = STORE_RUN(s, SQL_INCOMING_PUT, NULL, NULL, f, db_blob(i->vm, sizeof(i->vm)),
			   db_blob(i->host, sizeof(i->host)), db_text(i->owner),
			   db_integer(i->token), db_integer(i->expires));
	return rc < 0 ? rc : 0;
}

static int take_incoming(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct store_incoming *i = arg;
	if (n != 3 || db_get_text(&row[0], i->owner, sizeof(i->owner)) < 0 ||
	    db_get_integer(&row[1], &i->token) < 0 || db_get_integer(&row[2], &i->expires) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds a malformed note");
	return 0;
}

int store_incoming_get(struct store *s, const uint8_t vm[static UUID_BYTES],
		       const uint8_t host[static UUID_BYTES], struct store_incoming *out,
		       struct fault *f)
{
	struct store_incoming i = { .token = 0 };
	int rc = STORE_RUN(s, SQL_INCOMING_GET, take_incoming, &i, f, db_blob(vm, UUID_BYTES),
			   db_blob(host, UUID_BYTES));
	if (rc == 0)
		return fault_set(f, -ENOENT, "the host does not await this VM");
	if (rc < 0)
		return rc;
	memcpy(i.vm, vm, sizeof(i.vm));
	memcpy(i.host, host, sizeof(i.host));
	*out = i;
	return 0;
}

int store_incoming_drop(struct store *s, const uint8_t vm[static UUID_BYTES],
			const uint8_t host[static UUID_BYTES], struct fault *f)
{
	int rc = STORE_RUN(s, SQL_INCOMING_DROP, NULL, NULL, f, db_blob(vm, UUID_BYTES),
			   db_blob(host, UUID_BYTES));
	return rc < 0 ? rc : 0;
}

int store_incoming_void(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
			struct fault *f)
{
	int rc = STORE_RUN(s, SQL_INCOMING_VOID, NULL, NULL, f, db_blob(vm, UUID_BYTES),
			   db_text(owner));
	return rc < 0 ? rc : 0;
}

static int take_head(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct store_log_head *h = arg;
	if (n != 2 || db_get_integer(&row[0], &h->seq) < 0 ||
	    db_get_bytes(&row[1], h->hash, sizeof(h->hash)) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds a malformed log record");
	return 0;
}

int store_log_head(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		   struct store_log_head *out, struct fault *f)
{
	struct store_log_head h = { 0 };
	int rc = STORE_RUN(s, SQL_LOG_HEAD, take_head, &h, f, db_blob(vm, UUID_BYTES),
			   db_text(owner));
	if (rc < 0)
		return rc;
	*out = h;
	return 0;
}

int store_log_append(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		     const struct store_log_head *head, const char *statement, size_t n,
		     struct fault *f)
{
	if (n > STORE_STATEMENT_MAX)
		return store_fail(s,
				  fault_set(f, ERR_LIMIT, "a log record has at most %d characters",
					    STORE_STATEMENT_MAX));
	int rc = STORE_RUN(s, SQL_LOG_ADD, NULL, NULL, f, db_blob(vm, UUID_BYTES), db_text(owner),
			   db_integer(head->seq), db_blob(head->hash, sizeof(head->hash)),
			   db_text_n(statement, n));
	return rc < 0 ? rc : 0;
}

struct log_each {
	store_log_each_fn *fn;
	void *arg;
};

static int take_record(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct log_each *e = arg;
	int64_t seq = 0;
	if (n != 2 || db_get_integer(&row[0], &seq) < 0 || row[1].type != DB_TEXT)
		return fault_set(f, ERR_FORMAT, "the database holds a malformed log record");
	return e->fn(seq, row[1].data, row[1].n, e->arg);
}

int store_log_each(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		   int64_t from, int64_t limit, store_log_each_fn *fn, void *arg, struct fault *f)
{
	struct log_each e = { fn, arg };
	int rc = STORE_RUN(s, SQL_LOG_EACH, take_record, &e, f, db_blob(vm, UUID_BYTES),
			   db_text(owner), db_integer(from), db_integer(limit));
	return rc < 0 ? rc : 0;
}

struct log_owners {
	char (*at)[STORE_OWNER_SIZE];
	size_t n, limit;
};

static int take_owner(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct log_owners *o = arg;
	if (n != 1 || o->n == o->limit || db_get_text(&row[0], o->at[o->n], STORE_OWNER_SIZE) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds a malformed log record");
	o->n++;
	return 0;
}

int store_log_owners(struct store *s, const uint8_t vm[static UUID_BYTES], size_t limit,
		     char (*out)[STORE_OWNER_SIZE], size_t *n, struct fault *f)
{
	struct log_owners o = { .at = out, .limit = limit };
	int rc = STORE_RUN(s, SQL_LOG_OWNERS, take_owner, &o, f, db_blob(vm, UUID_BYTES),
			   db_integer((int64_t)limit));
	*n = rc < 0 ? 0 : o.n;
	return rc < 0 ? rc : 0;
}
