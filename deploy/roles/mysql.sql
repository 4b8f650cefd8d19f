-- retentiond: its account in MariaDB (10.5 or newer) and MySQL (8.0 or newer), with the least that it needs.
--
--     mariadb < /usr/share/retentiond/roles/mysql.sql          mysql < /usr/share/retentiond/roles/mysql.sql
--
-- Run it as an administrator. It fits the tables of examples/estate as they stand, in a database `housing`: applicants are destroyed with their
-- interviews, tenancies are only looked up, and of staff the name is anonymised. Put your own in their place. SQL has no variables for names, so
-- replace these throughout:
--
--     housing               the database
--     'retentiond'@'%'      the account, and the addresses that it may come from: better '10.1.2.3' or '10.1.2.0/255.255.255.0'
--
-- It may be run again after every change: what the account may do is what this file says, and nothing that it said before.
-- Nothing here lets it insert, truncate, or create or drop tables. It can destroy rows, that is what it is for: keep who may log in as it short.

-- No password stands here, so nobody can log in yet. Give it one by hand; the client keeps statements with IDENTIFIED out of its history:
--     ALTER USER 'retentiond'@'%' IDENTIFIED BY '…' ACCOUNT UNLOCK;
CREATE USER IF NOT EXISTS 'retentiond'@'%' ACCOUNT LOCK;

-- Keys and rows never cross a network in the clear. For a service on the same machine name the account 'retentiond'@'localhost' and write
-- REQUIRE NONE: a socket has no TLS, and such an account would be refused.
-- MAX_USER_CONNECTIONS: a scan and a removal for each dataset at work. A fault in the service must not take the application's connections.
ALTER USER 'retentiond'@'%' REQUIRE SSL WITH MAX_USER_CONNECTIONS 10;

-- Begin with nothing.
REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'retentiond'@'%';

-- Destroyed. SELECT: the scan, and the second look at each row before it goes. The whole row, since any change since the scan keeps it.
-- SELECT … FOR UPDATE, which holds a row still between that look and its end, needs one of DELETE, UPDATE and LOCK TABLES in MySQL, and nothing
-- besides SELECT in MariaDB: DELETE is here already.
GRANT SELECT, DELETE ON housing.applicants TO 'retentiond'@'%';

-- Children, which go with their parent. SELECT: to find them by the parent's key.
GRANT SELECT, DELETE ON housing.interviews TO 'retentiond'@'%';

-- Looked up, or in a class that is only reported. A class with `then: review` needs DELETE too as soon as a person approves.
GRANT SELECT ON housing.tenancies TO 'retentiond'@'%';

-- Anonymised: exactly the columns under `anonymise:`. UPDATE on one of them serves SELECT … FOR UPDATE as well.
GRANT SELECT, UPDATE (name) ON housing.staff TO 'retentiond'@'%';

-- What the account cannot see it cannot respect, so where something may be hidden from it nothing goes. A foreign key of a table on which it has no
-- right at all is invisible to it, and with ON DELETE CASCADE that table's rows would go unannounced. With PROCESS it sees every foreign key of InnoDB
-- (INFORMATION_SCHEMA.INNODB_FOREIGN, MariaDB: INNODB_SYS_FOREIGN), and how many replicas there are. PROCESS also shows the statements of all others
-- while they run, and those may hold personal data: who would rather not may give it SELECT ON *.* instead.
GRANT PROCESS ON *.* TO 'retentiond'@'%';

-- And a table that refers to those above it may read, also where none of its rows should go:
--     GRANT SELECT ON housing.letters TO 'retentiond'@'%';

-- A trigger may do anything when a row goes or changes, and is shown only to those who may also create and drop triggers. Where that is too much, leave
-- these out, look yourself (SHOW TRIGGERS FROM housing), and write `triggers: accept` in the datasets.
GRANT TRIGGER ON housing.applicants TO 'retentiond'@'%';
GRANT TRIGGER ON housing.interviews TO 'retentiond'@'%';
GRANT TRIGGER ON housing.staff TO 'retentiond'@'%';

-- Any account may set foreign_key_checks = 0 for its own connection and so leave children behind; no grant prevents that. The service never does.

-- Replicas: how far one is behind, asked on the replica itself, with this account there too. Only when the configuration names replicas.
--     MariaDB:   GRANT REPLICA MONITOR ON *.* TO 'retentiond'@'%';
--     MySQL:     GRANT REPLICATION CLIENT ON *.* TO 'retentiond'@'%';

-- Bounds on waiting have no place in an account: the service sets innodb_lock_wait_timeout for each of its connections.
