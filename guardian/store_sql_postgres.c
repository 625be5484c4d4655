/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guardian's tables as PostgreSQL has them: those of STORE_SCHEMA_SQLITE, with the same rules
 * under the same names, in a schema of their own.
 */
#include "guardian/store_sql.h"

#include <stddef.h>

/* A trigger that refuses with a sentence. */
#define REFUSE(name, when_what, condition, says)                                                   \
	"CREATE TRIGGER " name " BEFORE " when_what " FOR EACH ROW " condition                     \
	" EXECUTE FUNCTION shieldvm_guardian.refuse('" says "');"
/* The same for a whole table at once, which no trigger for rows sees. */
#define NEVER_EMPTIED(table)                                                                       \
	"CREATE TRIGGER " table "_emptied BEFORE TRUNCATE ON " table                               \
	" FOR EACH STATEMENT EXECUTE FUNCTION shieldvm_guardian.refuse('" table                    \
	" is never emptied');"

/* One text, and so one transaction. */
const char STORE_SCHEMA_POSTGRES[] =
	"CREATE SCHEMA shieldvm_guardian;"
	"SET LOCAL search_path = shieldvm_guardian, pg_catalog, pg_temp;"

	"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql "
	"SET search_path = pg_catalog, pg_temp AS $$ BEGIN"
	" RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[0];"
	" END $$;"
	"CREATE FUNCTION policies_next() RETURNS trigger LANGUAGE plpgsql "
	"SET search_path = pg_catalog, shieldvm_guardian, pg_temp AS $$ BEGIN"
	" IF NEW.generation <> (SELECT COALESCE(MAX(generation), 0) + 1 FROM policies) THEN"
	" RAISE EXCEPTION USING ERRCODE = 'check_violation',"
	" MESSAGE = 'policy generations have no gaps'; END IF; RETURN NEW; END $$;"
	"CREATE FUNCTION release_log_next() RETURNS trigger LANGUAGE plpgsql "
	"SET search_path = pg_catalog, shieldvm_guardian, pg_temp AS $$ BEGIN"
	" IF NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM release_log WHERE vm = NEW.vm"
	" AND owner = NEW.owner) THEN"
	" RAISE EXCEPTION USING ERRCODE = 'check_violation',"
	" MESSAGE = 'the release log has no gaps'; END IF; RETURN NEW; END $$;"

	"CREATE TABLE guardian ("
	" one bigint PRIMARY KEY CHECK (one = 1),"
	" version bigint NOT NULL,"
	" floor bigint NOT NULL CHECK (floor >= 0),"
	" forgotten bigint NOT NULL CHECK (forgotten >= 0));"
	/* clang-format off */
	REFUSE("guardian_floor", "UPDATE ON guardian",
	       "WHEN (NEW.floor < OLD.floor OR NEW.forgotten < OLD.forgotten)",
	       "the floor of policy generations never falls")
	REFUSE("guardian_kept", "DELETE ON guardian", "", "this row stays")
	NEVER_EMPTIED("guardian")

	"CREATE TABLE admins ("
	" name text COLLATE \"C\" PRIMARY KEY,"
	" role text NOT NULL CHECK (role IN ('admin', 'reviewer')),"
	" fingerprint bytea NOT NULL UNIQUE CHECK (length(fingerprint) = 32),"
	" added bigint NOT NULL);"

	"CREATE TABLE hosts ("
	" id bytea PRIMARY KEY CHECK (length(id) = 16),"
	" name text COLLATE \"C\" NOT NULL UNIQUE,"
	" mode text NOT NULL CHECK (mode IN ('tpm', 'host-key')),"
	" state text NOT NULL CHECK (state IN ('pending', 'approved', 'revoked', 'replacing')),"
	" ek_id bytea UNIQUE CHECK (length(ek_id) = 32),"
	" ek_cert bytea,"
	" ak_pub bytea UNIQUE,"
	" host_key text COLLATE \"C\" UNIQUE,"
	" enrolled bigint NOT NULL,"
	" tls_key bytea NOT NULL UNIQUE CHECK (length(tls_key) = 32),"
	" decided bigint,"
	" decided_by text,"
	" reset_count bigint,"
	" restart_count bigint,"
	" CHECK (mode <> 'tpm' OR (ek_id IS NOT NULL AND ek_cert IS NOT NULL AND"
	"  ak_pub IS NOT NULL AND host_key IS NULL)),"
	" CHECK (mode <> 'host-key' OR (ek_id IS NULL AND ek_cert IS NULL AND"
	"  ak_pub IS NULL AND host_key IS NOT NULL)),"
	" CHECK (state = 'pending' OR (decided IS NOT NULL AND decided_by IS NOT NULL)),"
	" CHECK ((reset_count IS NULL) = (restart_count IS NULL)));"
	REFUSE("hosts_kept", "DELETE ON hosts", "WHEN (OLD.state <> 'pending')",
	       "hosts are revoked, never deleted")
	REFUSE("hosts_id", "UPDATE ON hosts", "WHEN (NEW.id <> OLD.id)",
	       "the id of a host never changes")
	REFUSE("hosts_keys", "UPDATE ON hosts",
	       "WHEN (OLD.state <> 'replacing' AND (NEW.ek_id IS DISTINCT FROM OLD.ek_id OR"
	       " NEW.ak_pub IS DISTINCT FROM OLD.ak_pub OR"
	       " NEW.host_key IS DISTINCT FROM OLD.host_key OR"
	       " NEW.tls_key <> OLD.tls_key OR NEW.mode <> OLD.mode))",
	       "the keys of a host change only when it is replaced")
	NEVER_EMPTIED("hosts")

	"CREATE TABLE nonces ("
	" nonce bytea PRIMARY KEY CHECK (length(nonce) = 32),"
	" host bytea NOT NULL REFERENCES hosts (id),"
	" kind bigint NOT NULL CHECK (kind IN (0, 1)),"
	" expires bigint NOT NULL);"
	"CREATE INDEX nonces_host ON nonces (host, kind, expires);"
	"CREATE INDEX nonces_expires ON nonces (expires);"

	"CREATE TABLE words ("
	" host bytea PRIMARY KEY REFERENCES hosts (id),"
	" stretch bigint NOT NULL,"
	" said bigint NOT NULL CHECK (said > 0));"

	"CREATE TABLE policies ("
	" generation bigint PRIMARY KEY CHECK (generation > 0),"
	" policy text NOT NULL,"
	" added bigint NOT NULL,"
	" added_by text NOT NULL);"
	"CREATE TRIGGER policies_next BEFORE INSERT ON policies"
	" FOR EACH ROW EXECUTE FUNCTION policies_next();"
	REFUSE("policies_fixed", "UPDATE ON policies", "", "a policy generation never changes")
	REFUSE("policies_kept", "DELETE ON policies", "", "a policy generation is never deleted")
	NEVER_EMPTIED("policies")

	"CREATE TABLE certificates ("
	" serial bytea PRIMARY KEY CHECK (length(serial) = 20),"
	" host bytea NOT NULL REFERENCES hosts (id),"
	" bk_hash bytea NOT NULL CHECK (length(bk_hash) = 32),"
	" worker_hash bytea NOT NULL CHECK (length(worker_hash) = 32),"
	" generation bigint NOT NULL REFERENCES policies (generation),"
	" reset_count bigint NOT NULL,"
	" restart_count bigint NOT NULL,"
	" not_after bigint NOT NULL);"
	"CREATE INDEX certificates_not_after ON certificates (not_after);"
	REFUSE("certificates_fixed", "UPDATE ON certificates", "",
	       "what was certified never changes")

	"CREATE TABLE vms ("
	" vm bytea NOT NULL CHECK (length(vm) = 16),"
	" owner text COLLATE \"C\" NOT NULL CHECK (length(owner) = 43),"
	" holder bytea REFERENCES hosts (id),"
	" token bigint NOT NULL CHECK (token >= 0),"
	" expires bigint NOT NULL,"
	" version bigint NOT NULL CHECK (version >= 0),"
	" restores bigint NOT NULL CHECK (restores >= 0),"
	" took bigint NOT NULL CHECK (took >= -1 AND took <= token),"
	" edition bigint NOT NULL CHECK (edition >= 0),"
	" PRIMARY KEY (vm, owner));"
	"CREATE UNIQUE INDEX vms_token ON vms (vm, token) WHERE token > 0;"
	REFUSE("vms_forward", "UPDATE ON vms",
	       "WHEN (NEW.token < OLD.token OR NEW.version < OLD.version OR"
	       " NEW.restores < OLD.restores OR NEW.edition < OLD.edition)",
	       "fencing token, state version, restores and edition never fall")
	REFUSE("vms_fence", "UPDATE ON vms",
	       "WHEN (NEW.holder IS NOT NULL AND NEW.holder IS DISTINCT FROM OLD.holder AND"
	       " NEW.token <= OLD.token)",
	       "a lease changes hands with a new fencing token")
	REFUSE("vms_owner", "UPDATE ON vms", "WHEN (NEW.owner <> OLD.owner OR NEW.vm <> OLD.vm)",
	       "the owner of a VM never changes")
	REFUSE("vms_kept", "DELETE ON vms", "", "a VM is never forgotten")
	NEVER_EMPTIED("vms")

	"CREATE TABLE incoming ("
	" vm bytea NOT NULL CHECK (length(vm) = 16),"
	" host bytea NOT NULL REFERENCES hosts (id),"
	" owner text COLLATE \"C\" NOT NULL CHECK (length(owner) = 43),"
	" token bigint NOT NULL CHECK (token >= 0),"
	" expires bigint NOT NULL,"
	" PRIMARY KEY (vm, host));"
	"CREATE INDEX incoming_expires ON incoming (expires);"

	"CREATE TABLE release_log ("
	" vm bytea NOT NULL CHECK (length(vm) = 16),"
	" owner text NOT NULL CHECK (length(owner) IN (0, 43)),"
	" seq bigint NOT NULL CHECK (seq > 0),"
	" hash bytea NOT NULL CHECK (length(hash) = 32),"
	" statement text NOT NULL,"
	" PRIMARY KEY (vm, owner, seq));"
	"CREATE TRIGGER release_log_next BEFORE INSERT ON release_log"
	" FOR EACH ROW EXECUTE FUNCTION release_log_next();"
	REFUSE("release_log_fixed", "UPDATE ON release_log", "", "the release log is never changed")
	REFUSE("release_log_kept", "DELETE ON release_log", "", "the release log is never cut")
	NEVER_EMPTIED("release_log")
	/* clang-format on */

	"INSERT INTO guardian (one, version, floor, forgotten) VALUES (1, 2, 0, 0);";

_Static_assert(STORE_SCHEMA_VERSION == 2, "the version that the last line writes");

const char STORE_POSTGRES_RULES[] =
	"SELECT COUNT(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
	"JOIN pg_namespace n ON n.oid = c.relnamespace "
	"WHERE n.nspname = 'shieldvm_guardian' AND NOT t.tgisinternal AND t.tgenabled IN ('O', "
	"'A')";

const char STORE_POSTGRES_PUBLIC[] =
	"SELECT COUNT(*) FROM pg_namespace n, aclexplode(n.nspacl) a WHERE "
	"n.nspname = 'shieldvm_guardian' AND a.grantee = 0";

/* Every value of a table is read, the long ones too. */
#define READ_ALL(table)                                                                            \
	"SELECT COUNT(*) FROM shieldvm_guardian." table " t WHERE octet_length(t::text) = 0"
#define NO_HOST(table, column)                                                                     \
	"SELECT COUNT(*) FROM shieldvm_guardian." table " t WHERE t." column " IS NOT NULL AND "   \
	"NOT EXISTS (SELECT FROM shieldvm_guardian.hosts h WHERE h.id = t." column ")"

const char *const STORE_POSTGRES_CHECKS[] = {
	READ_ALL("guardian"),
	READ_ALL("admins"),
	READ_ALL("hosts"),
	READ_ALL("nonces"),
	READ_ALL("words"),
	READ_ALL("policies"),
	READ_ALL("certificates"),
	READ_ALL("vms"),
	READ_ALL("incoming"),
	READ_ALL("release_log"),
	NO_HOST("nonces", "host"),
	NO_HOST("words", "host"),
	NO_HOST("certificates", "host"),
	NO_HOST("vms", "holder"),
	NO_HOST("incoming", "host"),
	"SELECT COUNT(*) FROM (SELECT FROM shieldvm_guardian.release_log GROUP BY vm, owner "
	"HAVING MIN(seq) <> 1 OR MAX(seq) <> COUNT(*)) gaps",
	NULL,
};
