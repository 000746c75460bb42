// Package sample turns one row of logits, [vocab]float32, into the next token.
//
// A [Sampler] runs a fixed chain over the row:
//
//	penalties, logit bias, top-k, typical, top-p, min-p, temperature, draw
//
// The truncating filters come before the temperature, in the order that
// llama.cpp uses by default. Recommended settings for local models are
// published for that order, and it makes the surviving set independent of the
// temperature: a high temperature spreads the choice among plausible tokens
// and cannot let the tail of the distribution back in. It differs from
// llama.cpp in one point: the bias is added after the penalties, not before,
// so that a bias keeps its full strength whatever the repeat penalty is. Each
// filter works on the distribution that the filters before it left, normalised
// again.
//
// # Determinism
//
// Equal parameters (with a seed), an equal history and equal logits give an
// equal token on every machine. Uniform numbers come from ChaCha8
// (math/rand/v2, algorithm fixed by the C2SP chacha8rand specification), one
// 64-bit output per drawn token. Exponentials and logarithms are computed by
// this package: those of package math differ in the last bit between
// architectures. Products are rounded explicitly, so that no compiler may fuse
// them with an addition. Ties are broken towards the lower token id.
//
// # Ownership and goroutines
//
// A Sampler belongs to one sequence and to one goroutine at a time. It never
// modifies and never keeps the logits passed to it. Its working memory is
// allocated by [New] and by the first calls of Sample; after that a call
// allocates nothing. [Stops] likewise belongs to one stream.
//
// # Failure modes
//
// Parameters are checked once, by [New]; every error names the field, its
// limit and the value. A NaN logit counts as minus infinity, that is, as a
// masked token. A row in which no token is left yields [NoToken].
package sample
