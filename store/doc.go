// Package store keeps sessions on disk: their text and tokens, and the cached
// keys and values that let them go on without computing their tokens again.
//
// A store is a folder. A SQLite database indexes it and holds everything that
// cannot be recomputed; chunk files beside it hold payloads, which are opaque
// bytes here. docs/STORE.md describes the format and what survives what.
//
//	session   key, title, tags; messages with text and token ids
//	block     payload of BlockTok tokens, in parts that the engine numbers
//	tail      payload after the last whole block, replaced by every turn
//	extent    a run of payload bytes in a chunk
//	chunk     a file of at most 16 MiB, written once
//
// A block is identified by the hash chain over all tokens up to its end, and by
// the session's [Key]. Blocks of exact prefill are stored once for all sessions
// of one user that begin with the same tokens; a fork shares all blocks.
//
// The code reads in this order: session.go and schema_1.sql (what there is),
// commit.go, commit_rows.go and pack.go (a turn's way to disk), stage.go (the
// same for blocks that are not complete), snapshot.go and readahead.go (the way
// back), sweep.go, files.go and budget.go (how bytes go away), gc.go and compact.go,
// check.go; lost.go and log.go say what is refused before SQLite sees it. Package
// chunk is the format of payload files, portable that of exports, disk the seam to
// the file system.
//
// # Ownership
//
// One process owns a store. All that callers pass in is used during the call
// only; [Piece].Data is valid until the next piece. A [Snapshot] keeps the files
// that it reads, and must be closed.
//
// # Goroutine-safety
//
// A [Store] and its [User] views are safe for concurrent use. Readers never
// wait for a commit; commits write their payload side by side and only queue
// for the rows. A Snapshot is for one goroutine.
//
// # Failure modes
//
// A call that fails has changed nothing. After a crash or a power loss, a turn is
// there as a whole if Commit had returned, and as a whole or not at all if it was
// under way. Damage is found when it is read and named with [ErrCorrupt]; text is
// still there then. What a crash leaves behind is removed by [Store.GC]. Chunk files
// whose index is lost, or that are another store's, are never removed.
package store
