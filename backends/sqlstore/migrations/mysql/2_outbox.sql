-- Messages that wait for the relay, and the locks that put those of one key in
-- the order of their commits.
CREATE TABLE IF NOT EXISTS once_outbox (
	seq        bigint  NOT NULL AUTO_INCREMENT PRIMARY KEY,
	message_id varbinary(64) NOT NULL,
	subject    varbinary(1024) NOT NULL,
	order_key  varbinary(1024) NOT NULL,
	header     mediumblob,
	data       mediumblob NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS once_outbox_slots (
	slot integer NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
INSERT INTO once_schema (version) VALUES (2);
