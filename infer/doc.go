// Package infer is the engine: it keeps one model resident and answers
// requests with it, several at a time.
//
// One goroutine, the owner, holds the compiled program, the KV pool and every
// sequence; nothing else touches them, so the hot path has no locks around
// them. Each turn of its loop builds one ragged step: one decode row for every
// generating request and at most one prefill chunk. What a request gets does not
// depend on what runs beside it, as long as the backend's rows do not depend on
// each other.
//
// Up to [Config].MaxSeqs requests have a place, and the others wait. Who gets the
// next place, and whose prompt is read on, is whoever was served least: users
// share the engine equally, then the clients of a user, then, for chunks of
// prompts, a client's requests (package fair). A request whose user or client is
// far ahead of one that waits gives its place away, is parked with its sequence,
// and goes on later. So is one whose caller does not read.
//
// [Engine.Generate] renders and tokenizes in the caller's goroutine, hands the
// request to the owner, and calls emit in the caller's goroutine again. Between
// the two stands a bounded outbox: a caller that does not read pauses its own
// request and nothing else.
//
// Where the cache does not keep every token's exact keys and values, prompts are
// read layer by layer: a turn then runs one layer over one chunk of one prompt,
// beside the step of those that generate. Progress counts tokens times layers.
//
// [Engine.Embed] goes the same way without generating: its inputs are read like
// prompts, one chunk a turn, in steps of their own that give hidden states, and
// leave nothing behind.
//
// # Prefix reuse
//
// The sequence of a finished request stays in the pool with its token ids. A
// new request takes over or forks the sequence that shares the longest prefix
// with its prompt, also one that is running, and evaluates the rest, at least
// the last prompt token. Kept sequences are a cache: the least recently used
// are freed when pages or slots run out. When running requests alone exhaust
// the pages, the youngest is set back: its pages are freed and its tokens are
// evaluated again later. It loses time, never text.
//
// # Ownership
//
// An Engine owns its host memory account, the open model files and the
// backend until [Engine.Close]. Requests are not kept after Generate returns.
//
// # Goroutine-safety
//
// All methods of Engine may be called from any goroutine.
//
// # Failure modes
//
// Requests that cannot succeed get a typed error with the numbers. A step
// that fails ends the requests in it; the engine then has to prove itself with
// a real decode, as after loading, or its state becomes [Failed]. A panic of
// the backend always leads to Failed. A failed switch of models leaves nothing
// resident: there is no silent fallback to another model or backend.
package infer
