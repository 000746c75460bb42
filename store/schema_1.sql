-- Times are Unix nanoseconds. BLOBs marked "sealed" are encrypted when the store has a key.

CREATE TABLE settings (
	name  TEXT NOT NULL PRIMARY KEY, -- store_id, key_check
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
	id          INTEGER NOT NULL PRIMARY KEY,
	name_id     TEXT    NOT NULL UNIQUE, -- what users call it by
	owner       INTEGER NOT NULL,        -- uid
	parent      TEXT    NOT NULL,        -- name_id of the session that this was forked from, or empty
	title       BLOB    NOT NULL,        -- sealed
	tags        BLOB    NOT NULL,        -- sealed; JSON array of strings
	model       TEXT    NOT NULL,
	fingerprint BLOB    NOT NULL,
	policy      TEXT    NOT NULL,
	calibration TEXT    NOT NULL,
	created     INTEGER NOT NULL,
	updated     INTEGER NOT NULL,        -- last turn or edit
	used        INTEGER NOT NULL,        -- last turn or restore; the oldest is demoted first
	messages    INTEGER NOT NULL,
	tokens      INTEGER NOT NULL,
	blocks      INTEGER NOT NULL,        -- refs with idx >= 0
	bytes       INTEGER NOT NULL,        -- payload of all refs, those of incomplete blocks too
	tail        INTEGER NOT NULL,        -- 1: there is a ref with idx -1
	pure        INTEGER NOT NULL         -- 1: every block is exact prefill, so that the next one may be shared
) STRICT;
CREATE INDEX sessions_owner ON sessions(owner);

CREATE TABLE messages (
	id      INTEGER NOT NULL PRIMARY KEY,
	session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
	idx     INTEGER NOT NULL,
	role    TEXT    NOT NULL,
	start   INTEGER NOT NULL, -- tokens before this message
	tokens  INTEGER NOT NULL,
	body    BLOB    NOT NULL, -- sealed; text or JSON
	ids     BLOB    NOT NULL, -- sealed; int32 little-endian
	UNIQUE (session, idx)
) STRICT;

-- A block is the payload of 256 tokens, or a session's tail.
CREATE TABLE blocks (
	id          INTEGER NOT NULL PRIMARY KEY,
	owner       INTEGER NOT NULL,
	chain       BLOB    NOT NULL, -- sha256 over the fingerprint and all tokens up to its end; empty for a tail
	policy      TEXT    NOT NULL,
	calibration TEXT    NOT NULL,
	provenance  INTEGER NOT NULL, -- 0 exact prefill, 1 decoded
	shared      INTEGER NOT NULL, -- 1: other sessions of the owner may take it
	bytes       INTEGER NOT NULL,
	refs        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX blocks_shared ON blocks(owner, chain, policy, calibration) WHERE shared = 1;
CREATE INDEX blocks_unused ON blocks(id) WHERE refs = 0;

CREATE TABLE refs (
	session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
	idx     INTEGER NOT NULL, -- block number; -1 is the tail; -2 - number is a block that is not complete
	block   INTEGER NOT NULL REFERENCES blocks(id),
	PRIMARY KEY (session, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX refs_block ON refs(block);

CREATE TABLE chunks (
	id    INTEGER NOT NULL PRIMARY KEY, -- random; in the file's name and header
	sum   INTEGER NOT NULL,             -- xxhash64 of the file's table
	bytes INTEGER NOT NULL,             -- of the file
	tail  INTEGER NOT NULL,             -- 1: holds tails, which die young; else blocks
	used  INTEGER NOT NULL,             -- bytes of the file that were extents' when it was written
	live  INTEGER NOT NULL DEFAULT 0    -- those that still are
) STRICT;
CREATE INDEX chunks_unused ON chunks(id) WHERE live = 0;

CREATE TABLE extents (
	block INTEGER NOT NULL REFERENCES blocks(id) ON DELETE CASCADE,
	part  INTEGER NOT NULL, -- engine's number of a region
	seq   INTEGER NOT NULL, -- order within the part
	chunk INTEGER NOT NULL REFERENCES chunks(id),
	off   INTEGER NOT NULL,
	len   INTEGER NOT NULL, -- payload
	disk  INTEGER NOT NULL, -- bytes in the file
	sum   INTEGER NOT NULL, -- xxhash64 of the bytes in the file
	PRIMARY KEY (block, part, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX extents_chunk ON extents(chunk);

-- Counts follow rows, whoever changes them.
CREATE TRIGGER refs_added AFTER INSERT ON refs BEGIN
	UPDATE blocks SET refs = refs + 1 WHERE id = NEW.block;
END;
CREATE TRIGGER refs_removed AFTER DELETE ON refs BEGIN
	UPDATE blocks SET refs = refs - 1 WHERE id = OLD.block;
END;
CREATE TRIGGER extents_added AFTER INSERT ON extents BEGIN
	UPDATE chunks SET live = live + NEW.disk WHERE id = NEW.chunk;
END;
CREATE TRIGGER extents_removed AFTER DELETE ON extents BEGIN
	UPDATE chunks SET live = live - OLD.disk WHERE id = OLD.chunk;
END;
CREATE TRIGGER extents_moved AFTER UPDATE OF chunk ON extents BEGIN
	UPDATE chunks SET live = live - OLD.disk WHERE id = OLD.chunk;
	UPDATE chunks SET live = live + NEW.disk WHERE id = NEW.chunk;
END;
