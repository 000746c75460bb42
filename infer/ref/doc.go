// Package ref runs programs in plain Go, one small function per op, written
// to be read from top to bottom and believed. It is the oracle: the fast
// backends are judged by it, and it is judged by vectors of an independent
// implementation.
//
// Activations are stored as float32, as in the other backends, but every sum
// is accumulated in float64 in a fixed order. A row's result therefore depends
// on the row and its cached keys and values alone, not on which other rows
// share the step or how many threads compute it.
//
// What other backends must reproduce to the bit is computed in float32, in the
// order that package offload's layouts imply: zeros, steps and codes of
// records, the index, and the 8-bit rounding of a query that probes it.
//
// # Ownership
//
// Compile decodes all weights to float32 into one arena of the caller's host
// account (a model of P parameters costs 4P bytes) and takes a second arena
// for the activations; where prompts are read layer by layer, a third holds
// the hidden states of a whole context. Close gives all back. The float64
// scratch of a step is ordinary Go memory.
//
// # Goroutine-safety
//
// A backend may be shared; an Exec belongs to one goroutine, which it helps
// with at most Limits.Threads goroutines that end before Step returns.
//
// # Failure modes
//
// Compile refuses malformed programs and weights whose data does not fill their
// shape. Step and Part refuse rows that graph.Rows.Check and CheckPart refuse,
// and sequences whose pool is not planned as Limits.KV says. Cancelling is seen between ops.
package ref
