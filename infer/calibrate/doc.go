// Package calibrate tells which layers of a model need all of their tokens and
// which are content with a few dominant ones: the layer score of TailorKV
// (arXiv:2505.19586, section 4.1, equations 6 to 8).
//
// A layer's score is 1 minus the share of attention that the top 5 % of tokens
// hold, as a mean over the query heads and the last 32 queries of a prompt. A
// high score is attention that is spread out: leaving tokens out would change
// the layer's result, while rounding all of them averages out.
//
// # Ownership
//
// Scores opens and closes a program and a cache of its own. The model's
// program and the backend stay the caller's.
//
// # Goroutine-safety
//
// Scores may run several times at once.
//
// # Failure modes
//
// A prompt that is too short, a backend that does not show its queries, and
// memory that is not enough are refused. Cancelling is seen within one chunk.
package calibrate
