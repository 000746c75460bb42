// Package eval measures whether a model on a backend computes what it should.
// [Golden] compares logits with vectors of an independent implementation;
// [Cases] puts questions about documents to a whole engine or daemon and scores
// what the answers contain. [Compare] pairs two runs of the same cases, [Text] and
// [Divergence] compare two streams of logits over a text, and [Sweep] tables and
// draws what cache policies cost.
//
// # Ownership
//
// Every function opens the files and takes the memory that it needs, and gives
// both back before it returns. Backends and answerers stay the caller's.
//
// # Goroutine-safety
//
// Functions may run concurrently on different backends; reports are values.
//
// # Failure modes
//
// Malformed vector files and vectors of another model fail with the file, the
// sequence and the position, malformed cases with the file and the line, and a
// choice that matches no case is refused. An answer that cannot be had ends the
// run: it is not a wrong one. A report that misses its bars is no failure of
// the measurement: Check says which bars, by how much.
package eval
