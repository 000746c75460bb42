package tok

import (
	"fmt"
	"sync"
)

// NoToken is the id of a special token that a vocabulary does not have.
const NoToken int32 = -1

// Metadata is the view of a GGUF file's key-value section that a tokenizer is built from. Each method reports
// false when the key is absent or has another type. Slices are read during [FromMetadata] only.
type Metadata interface {
	String(key string) (string, bool)
	Uint(key string) (uint64, bool)
	Bool(key string) (bool, bool)
	Strings(key string) ([]string, bool)
	Floats(key string) ([]float32, bool)
	Ints(key string) ([]int32, bool)
}

// model encodes text that holds no special tokens.
type model interface {
	// encode appends the ids of text, which begins the input or follows a special token.
	encode(dst []int32, text string) []int32
}

// Tokenizer encodes and decodes text with one vocabulary. It is immutable and safe for concurrent use.
type Tokenizer struct {
	vocab   *vocab
	model   model
	special *trie // texts of control, unknown and user-defined tokens
	roles   roles

	missing     []byte // byte values without a token
	spacePrefix bool   // a space is put before text that begins the input or follows a special token

	guardOnce sync.Once
	guard     *guardTables
}

// FromMetadata builds the tokenizer that the metadata of a GGUF file describes. It fails when a key is missing
// or malformed, or when the model or the pre-tokenizer is not one of those that this package knows.
func FromMetadata(m Metadata) (*Tokenizer, error) {
	name, ok := m.String(keyModel)
	if !ok {
		return nil, fmt.Errorf("read tokenizer: key %s is missing or not a string", keyModel)
	}
	build := map[string]func(Metadata) (*Tokenizer, error){"gpt2": newBPE, "llama": newSPM}[name]
	if build == nil {
		return nil, fmt.Errorf("read tokenizer: model %.80q is not supported (known: gpt2, llama)", name)
	}
	t, err := build(m)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer (model %s): %w", name, err)
	}
	return t, nil
}

// Size returns the number of tokens. Ids run from 0 to Size()-1.
func (t *Tokenizer) Size() int { return t.vocab.size() }

// Token returns the bytes that a token stands for in decoded text, or the literal text of a control token.
// The bytes of a single token need not be valid UTF-8. An id out of range gives the empty string.
func (t *Tokenizer) Token(id int32) string {
	if !t.vocab.valid(id) {
		return ""
	}
	return t.vocab.piece(id)
}

// Lookup returns the token whose [Tokenizer.Token] is text; special tokens come before ordinary ones. Byte tokens of a
// SentencePiece vocabulary and tokens that text cannot yield are not found.
func (t *Tokenizer) Lookup(text string) (int32, bool) {
	if id, ok := t.special.lookup(text); ok {
		return id, true
	}
	id, ok := t.vocab.ordinary[text]
	return id, ok
}

// IsControl reports whether id is a control token: one that [Tokenizer.Decode] leaves out.
func (t *Tokenizer) IsControl(id int32) bool {
	return t.vocab.valid(id) && t.vocab.class[id] == classControl
}

// IsEOG reports whether id ends a generation: the model's end of sequence, turn or message, or another token
// that is known by its text to do so.
func (t *Tokenizer) IsEOG(id int32) bool {
	_, ok := t.roles.eog[id]
	return ok
}

// BOS returns the id of the beginning-of-sequence token, or [NoToken].
func (t *Tokenizer) BOS() int32 { return t.roles.bos }

// EOS returns the id of the end-of-sequence token, or [NoToken].
func (t *Tokenizer) EOS() int32 { return t.roles.eos }

// EOT returns the id of the end-of-turn token, or [NoToken].
func (t *Tokenizer) EOT() int32 { return t.roles.eot }

// AppendBOS appends the beginning-of-sequence token if the model wants one before its input. A rendered chat template
// may have written it already: look at the first id that [Tokenizer.EncodeRendered] gives before adding another.
func (t *Tokenizer) AppendBOS(dst []int32) []int32 {
	if t.roles.addBOS {
		return append(dst, t.roles.bos)
	}
	return dst
}

// AppendEOS appends the end-of-sequence token if the model wants one after its input; few generative models do.
func (t *Tokenizer) AppendEOS(dst []int32) []int32 {
	if t.roles.addEOS {
		return append(dst, t.roles.eos)
	}
	return dst
}

// MissingBytes returns, in ascending order, the byte values that the vocabulary has no token for. Byte-level vocabularies
// that were trained without their full alphabet lack some, mostly bytes that valid UTF-8 does not contain or control
// characters, and encoding drops them. SentencePiece vocabularies without byte fallback lack all; there the unknown
// token stands for each byte of a character that is not a token, the one control token that plain text can yield.
func (t *Tokenizer) MissingBytes() []byte { return append([]byte(nil), t.missing...) }
