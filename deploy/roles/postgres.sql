-- retentiond: its role in PostgreSQL, with the least that it needs.
--
--     psql --no-psqlrc --dbname housing --file /usr/share/retentiond/roles/postgres.sql
--
-- Run it as the owner of the tables who may also create roles, in practice as a superuser. It fits the tables of examples/estate as they stand:
-- applicants are destroyed with their interviews, tenancies are only looked up, and of staff the name is anonymised. Put your own tables in their
-- place. It may be run again after every change: what the role may do on tables is what this file says, and nothing that it said before.
--
-- Nothing here lets the role insert, truncate, create or drop. It can destroy rows, that is what it is for: keep who may log in as it short.

\set ON_ERROR_STOP on
\set role retentiond
\set database housing
\set schema public
-- yes, when the configuration lets retentiond wait for replicas or watch the load.
\set watch no
-- yes, when a dataset asks for a grade that needs VACUUM (PostgreSQL 17 and newer).
\set vacuum no

BEGIN;

-- No password stands here. On the same machine `peer` in pg_hba.conf lets the service's own user in without one. Over a network use a certificate
-- (`hostssl … cert`) or set a password with `\password retentiond`, which hashes it before it leaves the client, and allow `hostssl` alone.
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

-- It logs in, and that is all: no databases or roles of its own making, no replication.
-- NOBYPASSRLS: where row-level security might hide rows from the role, the service refuses to work, whatever the policies say: a tenancy that it
-- cannot see would look like one that ended. Only for such tables write BYPASSRLS here.
-- NOINHERIT: should somebody make it a member of another role one day, it does not gain that role's rights by itself.
-- CONNECTION LIMIT: a scan and a removal for each dataset at work. A fault in the service must not take the application's connections.
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT CONNECTION LIMIT 10;

-- Bounds for whatever goes wrong; the service may set shorter ones for itself. These hold when it does not.
-- A batch that waits for the application's lock gives up and comes back later, and meanwhile nobody queues behind it.
ALTER ROLE :"role" IN DATABASE :"database" SET lock_timeout = '5s';
-- A stretch of a scan and a batch take milliseconds. What takes minutes has lost its index.
ALTER ROLE :"role" IN DATABASE :"database" SET statement_timeout = '5min';
-- A service that was stopped in the middle of a transaction must not hold back VACUUM.
ALTER ROLE :"role" IN DATABASE :"database" SET idle_in_transaction_session_timeout = '1min';
-- Names mean these tables, whatever else somebody creates under the same names in other schemas.
ALTER ROLE :"role" IN DATABASE :"database" SET search_path = :"schema";
-- A commit that the log calls done is on disk, also where the server is set up otherwise.
ALTER ROLE :"role" IN DATABASE :"database" SET synchronous_commit = on;

-- Begin with nothing on tables; the rights on columns go with those on their tables.
REVOKE ALL ON ALL TABLES IN SCHEMA :"schema" FROM :"role";

-- By default everybody may connect, and make temporary tables. Where that was taken from PUBLIC, as it should be, the role needs the first of them.
GRANT CONNECT ON DATABASE :"database" TO :"role";
-- To name what is in the schema. CREATE is not given. Up to PostgreSQL 14 PUBLIC had it in "public": REVOKE CREATE ON SCHEMA public FROM PUBLIC.
GRANT USAGE ON SCHEMA :"schema" TO :"role";

-- Destroyed. SELECT: the scan, and the second look at each row before it goes. The whole row, since any change since the scan keeps it.
GRANT SELECT, DELETE ON :"schema".applicants TO :"role";
-- SELECT … FOR UPDATE, which holds a row still between that look and its end, needs UPDATE on a column at least. The service never changes it.
-- The key is taken because it says nothing about a person, and because foreign keys that refer to it refuse a change.
GRANT UPDATE (id) ON :"schema".applicants TO :"role";

-- Children, which go with their parent. SELECT: to find them by the parent's key.
GRANT SELECT, DELETE ON :"schema".interviews TO :"role";

-- Looked up, or in a class that is only reported. A class with `then: review` needs what `applicants` has above as soon as a person approves.
GRANT SELECT ON :"schema".tenancies TO :"role";

-- Anonymised: exactly the columns under `anonymise:`. UPDATE on one of them is enough for SELECT … FOR UPDATE as well.
GRANT SELECT, UPDATE (name) ON :"schema".staff TO :"role";

-- Rows that foreign keys remove (ON DELETE CASCADE) go with the rights of the owner of their table: they need no grant, and no grant prevents them.

-- Replicas and load: how far others have replayed is hidden from ordinary roles. pg_monitor includes this and more. NOINHERIT has to go for it,
-- because rights that are not inherited do not count here; it is the only membership.
SELECT :'watch' = 'yes' AS watch \gset
\if :watch
  ALTER ROLE :"role" INHERIT;
  GRANT pg_read_all_stats TO :"role";
\else
  -- Only if it was given before: taking away what is not there warns.
  SELECT format('REVOKE pg_read_all_stats FROM %I', :'role') FROM pg_auth_members
    WHERE member = (SELECT oid FROM pg_roles WHERE rolname = :'role') AND roleid = 'pg_read_all_stats'::regrole \gexec
\endif

-- VACUUM of a table takes its owner or, from 17 on, MAINTAIN on it (pg_maintain is the same for every table of every schema). Before 17 there is no
-- way but ownership, and an owner may also drop: leave vacuuming to autovacuum or to the owner's own timer there. VACUUM without the right is no
-- error in PostgreSQL: it warns, skips the table and succeeds.
SELECT :'vacuum' = 'yes' AS vacuum, current_setting('server_version_num')::int >= 170000 AS maintain \gset
\if :vacuum
  \if :maintain
    GRANT MAINTAIN ON :"schema".applicants, :"schema".interviews, :"schema".staff TO :"role";
  \else
    \warn 'postgres.sql: MAINTAIN came with PostgreSQL 17; VACUUM is not granted'
  \endif
\endif

COMMIT;
