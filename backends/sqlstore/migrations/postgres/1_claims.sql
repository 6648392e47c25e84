-- Claims. Times are microseconds since 1970, by the database's clock. Pages keep room
-- for the completions of their claims, which then touch no index.
CREATE TABLE once_claims (
	fence       bigint   NOT NULL,
	expires     bigint   NOT NULL,
	deadline    bigint,
	retention   bigint,
	attempt     integer,
	state       smallint NOT NULL,
	flags       smallint NOT NULL,
	digest      bytea    NOT NULL PRIMARY KEY,
	token       bytea,
	fingerprint bytea,
	namespace   bytea,
	consumer    bytea,
	message_id  bytea,
	result      bytea,
	reason      bytea
) WITH (fillfactor = 70);
CREATE INDEX once_claims_expires ON once_claims (expires);
INSERT INTO once_schema (version) VALUES (1);
