// Package tok turns text into token ids and back, with a vocabulary read from GGUF metadata.
//
// Two families are supported: byte-level BPE (tokenizer.ggml.model "gpt2", with a named pre-tokenizer)
// and SentencePiece BPE with byte fallback (tokenizer.ggml.model "llama"). Token ids are those of
// llama.cpp for the same file and text; the differences are listed below. Anything else is refused by
// [FromMetadata] with the name that was found and the names that are known.
//
// # Special tokens
//
// A token of GGUF type control (3) or unknown (2) is called a control token here, as is one whose text is
// known to steer generation in some model family, whatever its type. Plain text does not yield them:
// [Tokenizer.Encode] does not look for them, and neither do the merge tables contain them. Tokens of
// type user-defined (4) are ordinary text that the model's author wants kept whole, so they are matched in
// every mode. Where special tokens overlap, the leftmost wins, and of those that start there the longest.
//
// Text of strangers reaches a model inside a chat template, whose output must have its own control tokens
// parsed. [Tokenizer.Guard] marks the strangers' text before the template is rendered and
// [Tokenizer.EncodeRendered] parses and unmarks the result.
//
// # Bytes that are not UTF-8
//
// Byte-level BPE splits text by character classes; each byte that is not part of valid UTF-8 counts there
// as U+FFFD, a symbol, but the byte itself is what is encoded. SentencePiece vocabularies encode such bytes
// by byte fallback. [Tokenizer.Decode] therefore gives back the exact bytes of the encoded text, with two
// exceptions: bytes for which a vocabulary has no token are lost, as in every implementation of that
// vocabulary ([Tokenizer.MissingBytes] lists them), and SentencePiece vocabularies decode U+2581, their
// own spelling of a space, as a space.
//
// # Differences from llama.cpp
//
// Merges never produce a control or byte token from text that merely spells one, as in SentencePiece itself.
// Partly overlapping special tokens are resolved from the left, not by length over the whole text. Bytes that
// are not UTF-8 are kept, not replaced. "</s>" and "<eos>" end a generation only if they are control tokens:
// Gemma 3 has "</s>" as an HTML tag. A stretch of more than 1 MiB without any place to split, such as a
// million equal letters, is cut there, which bounds memory. A missing or unknown pre-tokenizer is refused,
// not guessed.
//
// # Ownership and goroutines
//
// A [Tokenizer] copies what it needs from the metadata and is immutable afterwards: it may be used by any
// number of goroutines, and the GGUF file may be closed. A [Stream] belongs to one goroutine. Encoding
// functions append to the slice they are given and return it, as append does; they cannot fail. Encoding takes
// O(n log n) time in the length of the text, whatever the text.
package tok
