-- Messages that wait for the relay, and the locks that put those of one key in
-- the order of their commits.
CREATE TABLE once_outbox (
	seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	message_id bytea NOT NULL,
	subject    bytea NOT NULL,
	order_key  bytea NOT NULL,
	header     bytea,
	data       bytea NOT NULL
);
CREATE TABLE once_outbox_slots (
	slot integer NOT NULL PRIMARY KEY
);
INSERT INTO once_schema (version) VALUES (2);
