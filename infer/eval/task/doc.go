// Package task generates retrieval cases for [eval.Cases]: a document of any
// length that holds facts, and questions about them with their right answers.
// The tasks are those of RULER (Hsieh et al., 2024) in the wording of the
// published cases of the needle model: a number or a UUID in prose, many keys,
// many values, tracing of variables, and frequent words.
//
// A case is a function of its [Spec] and of the tokenizer's counts alone: the
// same on every machine. Prose is the King James Bible (haystack.txt, in the
// public domain) from a line that the seed chooses, again from the top where
// it ends, or one sentence repeated; the seed chooses which. Facts lie at
// seeded depths, one in each equal part of the document, and the questions ask
// for facts of all parts in seeded order.
//
// # Ownership
//
// A case belongs to the caller. The package keeps nothing but its embedded
// texts, which nothing changes.
//
// # Goroutine-safety
//
// Functions may run concurrently if the counter may.
//
// # Failure modes
//
// A task that does not exist, numbers out of range, and lengths too short for
// the facts or for the precision of 2 % are refused with the least that works.
// Errors of the counter are returned, and one whose counts do not grow with
// the text is refused.
package task
