/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every statement the guardian's database is ever asked, and its tables.
 *
 * The statements keep to what SQLite and PostgreSQL both understand; the tables are SQLite's.  The
 * tables' own rules repeat what the code above checks, so that no later mistake there can, say,
 * change a record of the release log or let a fencing token fall.
 */
#include "guardian/store_sql.h"

#define HOST_COLUMNS                                                                               \
	"id, name, mode, state, ek_id, ek_cert, ak_pub, host_key, enrolled, decided, "             \
	"decided_by, reset_count, restart_count, tls_key"

#define VM_COLUMNS "vm, owner, holder, token, expires, version, restores, took, edition"

const struct store_sql_row STORE_SQL[SQL_COUNT] = {
	[SQL_NONCE_ADD] = { "INSERT INTO nonces (nonce, host, kind, expires) VALUES ($1, $2, $3, "
			    "$4)",
			    1, 4 },
	[SQL_NONCE_COUNT] = { "SELECT COUNT(*) FROM nonces WHERE host = $1 AND kind = $2 AND "
			      "expires > $3",
			      0, 3 },
	[SQL_NONCE_PRUNE] = { "DELETE FROM nonces WHERE expires <= $1", 1, 1 },
	[SQL_WORD_ADD] = { "INSERT INTO words (host, stretch, said) VALUES ($1, $2, 1) "
			   "ON CONFLICT (host) DO UPDATE SET said = CASE WHEN words.stretch = "
			   "excluded.stretch THEN words.said + 1 ELSE 1 END, "
			   "stretch = excluded.stretch",
			   1, 2 },
	[SQL_WORD_COUNT] = { "SELECT said FROM words WHERE host = $1", 0, 1 },
	[SQL_CERTIFICATE_PRUNE] = { "DELETE FROM certificates WHERE not_after <= $1", 1, 1 },
	[SQL_FORGOTTEN_GET] = { "SELECT forgotten FROM guardian WHERE one = 1", 0, 0 },
	[SQL_FORGOTTEN_SET] = { "UPDATE guardian SET forgotten = (SELECT MAX(expires) FROM nonces "
				"WHERE expires <= $1) WHERE one = 1 AND forgotten < (SELECT "
				"COALESCE(MAX(expires), 0) FROM nonces WHERE expires <= $1)",
				1, 1 },
	[SQL_POLICY_ADD] = { "INSERT INTO policies (generation, policy, added, added_by) VALUES "
			     "($1, $2, $3, $4)",
			     1, 4 },
	[SQL_POLICY_LATEST] = { "SELECT generation, policy FROM policies ORDER BY generation DESC "
				"LIMIT 1",
				0, 0 },
	[SQL_POLICY_NUMBER] = { "SELECT COALESCE(MAX(generation), 0) FROM policies", 0, 0 },
	[SQL_FLOOR_GET] = { "SELECT floor FROM guardian WHERE one = 1", 0, 0 },
	[SQL_FLOOR_SET] = { "UPDATE guardian SET floor = $1 WHERE one = 1", 1, 1 },
	[SQL_ADMIN_ADD] = { "INSERT INTO admins (name, role, fingerprint, added) VALUES "
			    "($1, $2, $3, $4)",
			    1, 4 },
	[SQL_ADMIN_REMOVE] = { "DELETE FROM admins WHERE name = $1", 1, 1 },
	[SQL_ADMIN_EACH] = { "SELECT name, role, fingerprint, added FROM admins ORDER BY name", 0,
			     0 },
	[SQL_ADMIN_FIND] = { "SELECT name, role, fingerprint, added FROM admins WHERE "
			     "fingerprint = $1",
			     0, 1 },
	[SQL_HOST_ADD] = { "INSERT INTO hosts (id, name, mode, state, ek_id, ek_cert, ak_pub, "
			   "host_key, enrolled, tls_key) VALUES ($1, $2, $3, 'pending', $4, $5, "
			   "$6, $7, "
			   "$8, $9)",
			   1, 9 },
	[SQL_HOST_TAKE_OVER] = { "UPDATE hosts SET name = $2, mode = $3, state = 'pending', "
				 "ek_id = $4, ek_cert = $5, ak_pub = $6, host_key = $7, "
				 "enrolled = $8, tls_key = $9, decided = NULL, decided_by = NULL, "
				 "reset_count = NULL, restart_count = NULL WHERE id = $1 AND "
				 "state = 'replacing'",
				 1, 9 },
	[SQL_HOST_GET] = { "SELECT " HOST_COLUMNS " FROM hosts WHERE id = $1", 0, 1 },
	[SQL_HOST_EACH] = { "SELECT " HOST_COLUMNS
			    " FROM hosts WHERE name > $1 ORDER BY name LIMIT $2",
			    0, 2 },
	[SQL_HOST_PENDING] = { "SELECT COUNT(*) FROM hosts WHERE state = 'pending' AND mode = $1",
			       0, 1 },
	[SQL_HOST_PRUNE] = { "DELETE FROM hosts WHERE state = 'pending' AND enrolled <= $1 AND "
			     "NOT EXISTS (SELECT 1 FROM vms WHERE holder = hosts.id) AND "
			     "NOT EXISTS (SELECT 1 FROM incoming WHERE host = hosts.id) AND "
			     "NOT EXISTS (SELECT 1 FROM nonces WHERE host = hosts.id) AND "
			     "NOT EXISTS (SELECT 1 FROM words WHERE host = hosts.id) AND "
			     "NOT EXISTS (SELECT 1 FROM certificates WHERE host = hosts.id)",
			     1, 1 },
	[SQL_HOST_TAKEN] = { "SELECT CASE WHEN id = $1 THEN 0 WHEN name = $2 THEN 1 "
			     "WHEN ek_id = $3 THEN 2 WHEN ak_pub = $4 THEN 3 "
			     "WHEN host_key = $5 THEN 4 ELSE 5 END "
			     "FROM hosts WHERE (id = $1 AND state <> 'replacing') OR (id <> $1 AND "
			     "(name = $2 OR ek_id = $3 OR ak_pub = $4 OR host_key = $5 OR "
			     "tls_key = $6)) "
			     "ORDER BY 1 LIMIT 1",
			     0, 6 },
	[SQL_HOST_DECIDE] = { "UPDATE hosts SET state = $3, decided = $4, decided_by = $5 "
			      "WHERE id = $1 AND state = $2",
			      1, 5 },
	[SQL_HOST_COUNTS] = { "UPDATE hosts SET reset_count = $2, restart_count = $3 WHERE "
			      "id = $1 AND (reset_count IS NULL OR reset_count < $2 OR "
			      "(reset_count = $2 AND restart_count <= $3))",
			      1, 3 },
	[SQL_CERTIFICATE_ADD] = { "INSERT INTO certificates (serial, host, bk_hash, worker_hash, "
				  "generation, reset_count, restart_count, not_after) VALUES "
				  "($1, $2, $3, $4, $5, $6, $7, $8)",
				  1, 8 },
	[SQL_CERTIFICATE_GET] = { "SELECT serial, host, bk_hash, worker_hash, generation, "
				  "reset_count, restart_count, not_after FROM certificates WHERE "
				  "serial = $1",
				  0, 1 },
	[SQL_VM_GET] = { "SELECT " VM_COLUMNS " FROM vms WHERE vm = $1 AND owner = $2", 0, 2 },
	[SQL_VM_HELD] = { "SELECT " VM_COLUMNS " FROM vms WHERE vm = $1 AND holder = $2 AND "
			  "token = $3",
			  0, 3 },
	[SQL_VM_TOKEN] = { "SELECT COALESCE(MAX(token), 0) FROM vms WHERE vm = $1", 0, 1 },
	[SQL_VM_TOOK] = { "SELECT " VM_COLUMNS " FROM vms WHERE vm = $1 AND holder = $2 AND "
			  "took = $3 ORDER BY token DESC LIMIT 1",
			  0, 3 },
	[SQL_VM_PUT] = { "INSERT INTO vms (vm, owner, holder, token, expires, version, restores, "
			 "took, edition) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
			 "ON CONFLICT (vm, owner) DO UPDATE SET holder = excluded.holder, "
			 "token = excluded.token, expires = excluded.expires, "
			 "version = excluded.version, restores = excluded.restores, "
			 "took = excluded.took, edition = excluded.edition",
			 1, 9 },
	[SQL_INCOMING_PUT] = { "INSERT INTO incoming (vm, host, owner, token, expires) VALUES "
			       "($1, $2, $3, $4, $5) ON CONFLICT (vm, host) DO UPDATE SET "
			       "owner = excluded.owner, token = excluded.token, "
			       "expires = excluded.expires",
			       1, 5 },
	[SQL_INCOMING_GET] = { "SELECT owner, token, expires FROM incoming WHERE vm = $1 AND "
			       "host = $2",
			       0, 2 },
	[SQL_INCOMING_DROP] = { "DELETE FROM incoming WHERE vm = $1 AND host = $2", 1, 2 },
	[SQL_INCOMING_VOID] = { "DELETE FROM incoming WHERE vm = $1 AND owner = $2", 1, 2 },
	[SQL_INCOMING_PRUNE] = { "DELETE FROM incoming WHERE expires <= $1", 1, 1 },
	[SQL_LOG_HEAD] = { "SELECT seq, hash FROM release_log WHERE vm = $1 AND owner = $2 "
			   "ORDER BY seq DESC LIMIT 1",
			   0, 2 },
	[SQL_LOG_ADD] = { "INSERT INTO release_log (vm, owner, seq, hash, statement) VALUES "
			  "($1, $2, $3, $4, $5)",
			  1, 5 },
	[SQL_LOG_EACH] = { "SELECT seq, statement FROM release_log WHERE vm = $1 AND owner = $2 "
			   "AND seq >= $3 ORDER BY seq LIMIT $4",
			   0, 4 },
	[SQL_LOG_OWNERS] = { "SELECT owner FROM release_log WHERE vm = $1 AND seq = 1 ORDER BY "
			     "owner "
			     "LIMIT $2",
			     0, 2 },
};

const char STORE_SCHEMA_SQLITE[] =
	"CREATE TABLE guardian ("
	" one INTEGER PRIMARY KEY CHECK (one = 1),"
	" version INTEGER NOT NULL,"
	" floor INTEGER NOT NULL CHECK (floor >= 0),"
	" forgotten INTEGER NOT NULL CHECK (forgotten >= 0)) STRICT;"
	"CREATE TRIGGER guardian_floor BEFORE UPDATE ON guardian"
	" WHEN NEW.floor < OLD.floor OR NEW.forgotten < OLD.forgotten"
	" BEGIN SELECT RAISE(ABORT, 'the floor of policy generations never falls'); END;"
	"CREATE TRIGGER guardian_kept BEFORE DELETE ON guardian"
	" BEGIN SELECT RAISE(ABORT, 'this row stays'); END;"

	"CREATE TABLE admins ("
	" name TEXT PRIMARY KEY,"
	" role TEXT NOT NULL CHECK (role IN ('admin', 'reviewer')),"
	" fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),"
	" added INTEGER NOT NULL) STRICT, WITHOUT ROWID;"

	"CREATE TABLE hosts ("
	" id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),"
	" name TEXT NOT NULL UNIQUE,"
	" mode TEXT NOT NULL CHECK (mode IN ('tpm', 'host-key')),"
	" state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'revoked', 'replacing')),"
	" ek_id BLOB UNIQUE CHECK (length(ek_id) = 32),"
	" ek_cert BLOB,"
	" ak_pub BLOB UNIQUE,"
	" host_key TEXT UNIQUE,"
	" enrolled INTEGER NOT NULL,"
	" tls_key BLOB NOT NULL UNIQUE CHECK (length(tls_key) = 32),"
	" decided INTEGER,"
	" decided_by TEXT,"
	" reset_count INTEGER,"
	" restart_count INTEGER,"
	" CHECK (mode <> 'tpm' OR (ek_id IS NOT NULL AND ek_cert IS NOT NULL AND"
	"  ak_pub IS NOT NULL AND host_key IS NULL)),"
	" CHECK (mode <> 'host-key' OR (ek_id IS NULL AND ek_cert IS NULL AND"
	"  ak_pub IS NULL AND host_key IS NOT NULL)),"
	" CHECK (state = 'pending' OR (decided IS NOT NULL AND decided_by IS NOT NULL)),"
	" CHECK ((reset_count IS NULL) = (restart_count IS NULL))) STRICT;"
	"CREATE TRIGGER hosts_kept BEFORE DELETE ON hosts WHEN OLD.state <> 'pending'"
	" BEGIN SELECT RAISE(ABORT, 'hosts are revoked, never deleted'); END;"
	"CREATE TRIGGER hosts_id BEFORE UPDATE OF id ON hosts WHEN NEW.id <> OLD.id"
	" BEGIN SELECT RAISE(ABORT, 'the id of a host never changes'); END;"
	"CREATE TRIGGER hosts_keys BEFORE UPDATE OF ek_id, ak_pub, host_key, tls_key, mode ON"
	" hosts"
	" WHEN OLD.state <> 'replacing' AND (NEW.ek_id IS NOT OLD.ek_id OR"
	"  NEW.ak_pub IS NOT OLD.ak_pub OR NEW.host_key IS NOT OLD.host_key OR"
	"  NEW.tls_key <> OLD.tls_key OR NEW.mode <> OLD.mode)"
	" BEGIN SELECT RAISE(ABORT, 'the keys of a host change only when it is replaced'); END;"

	"CREATE TABLE nonces ("
	" nonce BLOB PRIMARY KEY NOT NULL CHECK (length(nonce) = 32),"
	" host BLOB NOT NULL REFERENCES hosts (id),"
	" kind INTEGER NOT NULL CHECK (kind IN (0, 1)),"
	" expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE INDEX nonces_host ON nonces (host, kind, expires);"
	"CREATE INDEX nonces_expires ON nonces (expires);"

	"CREATE TABLE words ("
	" host BLOB PRIMARY KEY NOT NULL REFERENCES hosts (id),"
	" stretch INTEGER NOT NULL,"
	" said INTEGER NOT NULL CHECK (said > 0)) STRICT, WITHOUT ROWID;"

	"CREATE TABLE policies ("
	" generation INTEGER PRIMARY KEY CHECK (generation > 0),"
	" policy TEXT NOT NULL,"
	" added INTEGER NOT NULL,"
	" added_by TEXT NOT NULL) STRICT;"
	"CREATE TRIGGER policies_next BEFORE INSERT ON policies"
	" WHEN NEW.generation <> (SELECT COALESCE(MAX(generation), 0) + 1 FROM policies)"
	" BEGIN SELECT RAISE(ABORT, 'policy generations have no gaps'); END;"
	"CREATE TRIGGER policies_fixed BEFORE UPDATE ON policies"
	" BEGIN SELECT RAISE(ABORT, 'a policy generation never changes'); END;"
	"CREATE TRIGGER policies_kept BEFORE DELETE ON policies"
	" BEGIN SELECT RAISE(ABORT, 'a policy generation is never deleted'); END;"

	"CREATE TABLE certificates ("
	" serial BLOB PRIMARY KEY NOT NULL CHECK (length(serial) = 20),"
	" host BLOB NOT NULL REFERENCES hosts (id),"
	" bk_hash BLOB NOT NULL CHECK (length(bk_hash) = 32),"
	" worker_hash BLOB NOT NULL CHECK (length(worker_hash) = 32),"
	" generation INTEGER NOT NULL REFERENCES policies (generation),"
	" reset_count INTEGER NOT NULL,"
	" restart_count INTEGER NOT NULL,"
	" not_after INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE INDEX certificates_not_after ON certificates (not_after);"
	"CREATE TRIGGER certificates_fixed BEFORE UPDATE ON certificates"
	" BEGIN SELECT RAISE(ABORT, 'what was certified never changes'); END;"

	"CREATE TABLE vms ("
	" vm BLOB NOT NULL CHECK (length(vm) = 16),"
	" owner TEXT NOT NULL CHECK (length(owner) = 43),"
	" holder BLOB REFERENCES hosts (id),"
	" token INTEGER NOT NULL CHECK (token >= 0),"
	" expires INTEGER NOT NULL,"
	" version INTEGER NOT NULL CHECK (version >= 0),"
	" restores INTEGER NOT NULL CHECK (restores >= 0),"
	" took INTEGER NOT NULL CHECK (took >= -1 AND took <= token),"
	" edition INTEGER NOT NULL CHECK (edition >= 0),"
	" PRIMARY KEY (vm, owner)) STRICT, WITHOUT ROWID;"
	"CREATE UNIQUE INDEX vms_token ON vms (vm, token) WHERE token > 0;"
	"CREATE TRIGGER vms_forward BEFORE UPDATE ON vms"
	" WHEN NEW.token < OLD.token OR NEW.version < OLD.version OR"
	"  NEW.restores < OLD.restores OR NEW.edition < OLD.edition"
	" BEGIN SELECT RAISE(ABORT,"
	" 'fencing token, state version, restores and edition never fall'); END;"
	"CREATE TRIGGER vms_fence BEFORE UPDATE ON vms"
	" WHEN NEW.holder IS NOT NULL AND NEW.holder IS NOT OLD.holder AND NEW.token <= OLD.token"
	" BEGIN SELECT RAISE(ABORT, 'a lease changes hands with a new fencing token'); END;"
	"CREATE TRIGGER vms_owner BEFORE UPDATE ON vms WHEN NEW.owner <> OLD.owner OR "
	"NEW.vm <> OLD.vm"
	" BEGIN SELECT RAISE(ABORT, 'the owner of a VM never changes'); END;"
	"CREATE TRIGGER vms_kept BEFORE DELETE ON vms"
	" BEGIN SELECT RAISE(ABORT, 'a VM is never forgotten'); END;"

	"CREATE TABLE incoming ("
	" vm BLOB NOT NULL CHECK (length(vm) = 16),"
	" host BLOB NOT NULL REFERENCES hosts (id),"
	" owner TEXT NOT NULL CHECK (length(owner) = 43),"
	" token INTEGER NOT NULL CHECK (token >= 0),"
	" expires INTEGER NOT NULL,"
	" PRIMARY KEY (vm, host)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX incoming_expires ON incoming (expires);"

	"CREATE TABLE release_log ("
	" vm BLOB NOT NULL CHECK (length(vm) = 16),"
	" owner TEXT NOT NULL CHECK (length(owner) IN (0, 43)),"
	" seq INTEGER NOT NULL CHECK (seq > 0),"
	" hash BLOB NOT NULL CHECK (length(hash) = 32),"
	" statement TEXT NOT NULL,"
	" PRIMARY KEY (vm, owner, seq)) STRICT, WITHOUT ROWID;"
	"CREATE TRIGGER release_log_next BEFORE INSERT ON release_log"
	" WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM release_log WHERE vm = NEW.vm"
	" AND owner = NEW.owner)"
	" BEGIN SELECT RAISE(ABORT, 'the release log has no gaps'); END;"
	"CREATE TRIGGER release_log_fixed BEFORE UPDATE ON release_log"
	" BEGIN SELECT RAISE(ABORT, 'the release log is never changed'); END;"
	"CREATE TRIGGER release_log_kept BEFORE DELETE ON release_log"
	" BEGIN SELECT RAISE(ABORT, 'the release log is never cut'); END;"

	"INSERT INTO guardian (one, version, floor, forgotten) VALUES (1, 2, 0, 0);";

_Static_assert(STORE_SCHEMA_VERSION == 2, "the version that the last line writes");
