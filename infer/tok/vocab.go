package tok

import (
	"fmt"
	"math"
	"strings"
)

// Metadata keys, as the GGUF specification and llama.cpp name them.
const (
	keyModel       = "tokenizer.ggml.model"
	keyPre         = "tokenizer.ggml.pre"
	keyTokens      = "tokenizer.ggml.tokens"
	keyTypes       = "tokenizer.ggml.token_type"
	keyScores      = "tokenizer.ggml.scores"
	keyMerges      = "tokenizer.ggml.merges"
	keyBOS         = "tokenizer.ggml.bos_token_id"
	keyEOS         = "tokenizer.ggml.eos_token_id"
	keyEOT         = "tokenizer.ggml.eot_token_id"
	keyEOM         = "tokenizer.ggml.eom_token_id"
	keyFIMPad      = "tokenizer.ggml.fim_pad_token_id"
	keyFIMRepo     = "tokenizer.ggml.fim_rep_token_id"
	keyFIMFile     = "tokenizer.ggml.fim_sep_token_id"
	keyUnknown     = "tokenizer.ggml.unknown_token_id"
	keyAddBOS      = "tokenizer.ggml.add_bos_token"
	keyAddEOS      = "tokenizer.ggml.add_eos_token"
	keySpacePrefix = "tokenizer.ggml.add_space_prefix"
)

// class says how a token takes part in encoding. Classes are bits so that a search can name several.
type class uint8

const (
	classOrdinary class = 1 << iota // made by merges
	classControl                    // parsed only from trusted text; GGUF types control and unknown
	classUser                       // matched in all text, before merges
	classByte                       // stands for one byte (SentencePiece byte fallback)
	classInert                      // never made from text: spelled in a way that merges cannot meet
)

// ggufClass gives the class of each GGUF token type.
var ggufClass = [...]class{
	0: classOrdinary, // undefined
	1: classOrdinary, // normal
	2: classControl,  // unknown
	3: classControl,  // control
	4: classUser,     // user-defined
	5: classOrdinary, // unused: llama.cpp lets merges reach them
	6: classByte,     // byte
}

// vocab holds every token's decoded bytes in one string.
type vocab struct {
	bytes    string
	offset   []uint32         // [size+1] token i is bytes[offset[i]:offset[i+1]]
	class    []class          // [size]
	ordinary map[string]int32 // ordinary tokens by decoded bytes; keys share the memory of bytes
	maxLen   int              // bytes of the longest ordinary token
}

func (v *vocab) size() int { return len(v.class) }

func (v *vocab) valid(id int32) bool { return id >= 0 && int(id) < len(v.class) }

func (v *vocab) piece(id int32) string { return v.bytes[v.offset[id]:v.offset[id+1]] }

// decoder appends the bytes that the text of an ordinary or byte token stands for, and returns the token's class: the
// given one or classInert.
type decoder func(dst []byte, text string, c class) ([]byte, class, error)

// readVocab reads tokens and types.
func readVocab(m Metadata, decode decoder) (*vocab, error) {
	tokens, ok := m.Strings(keyTokens)
	if !ok || len(tokens) == 0 {
		return nil, fmt.Errorf("key %s is missing, empty or not an array of strings", keyTokens)
	}
	if len(tokens) > math.MaxInt32 {
		return nil, fmt.Errorf("%d tokens, the limit is %d", len(tokens), math.MaxInt32)
	}
	v := &vocab{class: make([]class, len(tokens)), offset: make([]uint32, len(tokens)+1)}
	if err := v.readTypes(m, tokens); err != nil {
		return nil, err
	}
	total := 0
	for _, text := range tokens {
		total += len(text)
	}
	if total > math.MaxUint32 {
		return nil, fmt.Errorf("token texts of %d bytes, the limit is %d", total, uint32(math.MaxUint32))
	}
	buf := make([]byte, 0, total)
	for i, text := range tokens {
		var err error
		if c := v.class[i]; c == classOrdinary || c == classByte {
			buf, v.class[i], err = decode(buf, text, c)
		} else {
			buf = append(buf, text...)
		}
		if err != nil {
			return nil, fmt.Errorf("token %d: %w", i, err)
		}
		v.offset[i+1] = uint32(len(buf))
	}
	v.bytes = string(buf)
	return v, v.index()
}

func (v *vocab) readTypes(m Metadata, tokens []string) error {
	types, ok := m.Ints(keyTypes)
	if !ok {
		return fmt.Errorf("key %s is missing or not an array of 32-bit integers", keyTypes)
	}
	if len(types) != len(tokens) {
		return fmt.Errorf("%s has %d entries for %d tokens", keyTypes, len(types), len(tokens))
	}
	for i, typ := range types {
		if typ < 0 || int(typ) >= len(ggufClass) {
			return fmt.Errorf("token %d has type %d, known are 0 to %d", i, typ, len(ggufClass)-1)
		}
		v.class[i] = ggufClass[typ]
		if alwaysControl(tokens[i]) {
			v.class[i] = classControl
		}
	}
	return nil
}

// index fills the map of ordinary tokens.
func (v *vocab) index() error {
	v.ordinary = make(map[string]int32, v.size())
	n := 0
	for i, c := range v.class {
		text := v.piece(int32(i))
		if c != classOrdinary || text == "" {
			continue
		}
		v.ordinary[text] = int32(i)
		if n++; len(v.ordinary) != n {
			return fmt.Errorf("token %d repeats the text %.80q of an earlier token", i, text)
		}
		v.maxLen = max(v.maxLen, len(text))
	}
	return nil
}

// specialTrie indexes the tokens that are matched as whole strings.
func (v *vocab) specialTrie() (*trie, error) {
	t := newTrie()
	for i, c := range v.class {
		if c != classControl && c != classUser {
			continue
		}
		text := v.piece(int32(i))
		if text == "" {
			continue
		}
		if j := strings.IndexFunc(text, reserved); c == classControl && j >= 0 {
			return nil, fmt.Errorf("control token %d (%.80q) contains a character of U+FDD0..U+FDEF, which guard text", i, text)
		}
		if first, dup := t.lookup(text); dup {
			return nil, fmt.Errorf("special tokens %d and %d are both %.80q", first, i, text)
		}
		t.insert(text, int32(i), c)
	}
	return t, nil
}
