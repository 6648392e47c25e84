-- Messages that wait for the relay. There is one writer at a time, so that those
-- of one key have the order of their commits.
CREATE TABLE once_outbox (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	message_id BLOB NOT NULL,
	subject    BLOB NOT NULL,
	order_key  BLOB NOT NULL,
	header     BLOB,
	data       BLOB NOT NULL
);
INSERT INTO once_schema (version) VALUES (2);
