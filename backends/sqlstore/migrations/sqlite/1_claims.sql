-- Claims. Times are microseconds since 1970, by the machine's clock.
CREATE TABLE once_claims (
	digest      BLOB    NOT NULL PRIMARY KEY,
	state       INTEGER NOT NULL,
	fence       INTEGER NOT NULL,
	expires     INTEGER NOT NULL,
	flags       INTEGER NOT NULL,
	attempt     INTEGER,
	deadline    INTEGER,
	retention   INTEGER,
	token       BLOB,
	fingerprint BLOB,
	namespace   BLOB,
	consumer    BLOB,
	message_id  BLOB,
	result      BLOB,
	reason      BLOB
) WITHOUT ROWID;
CREATE INDEX once_claims_expires ON once_claims (expires);
INSERT INTO once_schema (version) VALUES (1);
