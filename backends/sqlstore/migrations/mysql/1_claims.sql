-- Claims. Times are microseconds since 1970, by the database's clock.
CREATE TABLE IF NOT EXISTS once_claims (
	digest      binary(16) NOT NULL PRIMARY KEY,
	fence       bigint     NOT NULL,
	expires     bigint     NOT NULL,
	deadline    bigint,
	retention   bigint,
	attempt     integer,
	state       tinyint    NOT NULL,
	flags       tinyint    NOT NULL,
	token       binary(16),
	fingerprint binary(16),
	namespace   varbinary(255),
	consumer    varbinary(255),
	message_id  varbinary(4096),
	result      mediumblob,
	reason      varbinary(1024),
	INDEX once_claims_expires (expires)
) ENGINE = InnoDB;
INSERT INTO once_schema (version) VALUES (1);
