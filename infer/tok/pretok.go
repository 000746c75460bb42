package tok

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// Published split patterns of the supported families. Every character is part of some match, and every alternative
// is linear: none has two neighbouring repetitions that can share characters in more than one way.
const (
	// The last alternative of GPT-2's pattern keeps one space for the word that follows.
	patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	// SmolLM isolates each digit first and splits what lies between with GPT-2's pattern. In one pass: a number is
	// one character, takes no space with it, and ends a run of spaces as the end of the text does.
	patternSmolLM = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+`
	// Llama 3 groups up to three digits, Qwen 2 isolates each. The contractions are spelled out in both cases
	// because (?i) would also match U+017F, the long s, which llama.cpp does not.
	contractions  = `'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]`
	patternLlama3 = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// preTokenizer is what the GGUF key tokenizer.ggml.pre stands for.
type preTokenizer struct {
	pattern    string
	wholeWords bool // a piece that is a token is not built by merges
	addBOS     bool // default when the metadata does not say
}

// preTokenizers are the known names with their aliases. "default" is not among them: it stands for a pattern that
// the model was not trained with.
func preTokenizers() map[string]preTokenizer {
	gpt2 := preTokenizer{pattern: patternGPT2}
	llama3 := preTokenizer{pattern: patternLlama3, wholeWords: true, addBOS: true}
	qwen2 := preTokenizer{pattern: patternQwen2}
	smollm := preTokenizer{pattern: patternSmolLM}
	return map[string]preTokenizer{
		"gpt-2":     gpt2,
		"llama-bpe": llama3, "llama3": llama3, "llama-v3": llama3, "falcon3": llama3,
		"qwen2": qwen2, "deepseek-r1-qwen": qwen2,
		"smollm": smollm,
	}
}

func readPreTokenizer(m Metadata) (preTokenizer, error) {
	known := preTokenizers()
	name, ok := m.String(keyPre)
	p, found := known[name]
	if found {
		return p, nil
	}
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	if !ok {
		return p, fmt.Errorf("key %s is missing, so the pre-tokenizer is unknown (known: %s)", keyPre, list)
	}
	return p, fmt.Errorf("pre-tokenizer %.80q is not supported (known: %s)", name, list)
}

// splitter cuts text into the pieces that merges may not cross.
type splitter struct{ re *regexp2.Regexp }

func newSplitter(pattern string) (*splitter, error) {
	re, err := regexp2.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("compile pre-tokenizer: %w", err)
	}
	return &splitter{re: re}, nil
}

// split calls yield with consecutive pieces that make up text. It returns runes, its scratch memory, for reuse.
func (s *splitter) split(text string, runes []rune, yield func(piece string)) []rune {
	runes = runes[:0]
	for _, r := range text { // a byte that is not UTF-8 becomes one U+FFFD
		runes = append(runes, r)
	}
	at, done := 0, 0 // bytes, runes
	emit := func(untilRune int) {
		end := at
		if len(runes) == len(text) {
			end = untilRune
		} else {
			for _, r := range runes[done:untilRune] {
				end += width(text[end:], r)
			}
		}
		if end > at {
			yield(text[at:end])
		}
		at, done = end, untilRune
	}
	// Without a time limit the only error is that of the stack's, which the patterns stay far below; were there one,
	// the rest would be one piece and nothing would be lost.
	_ = s.re.FindRunesMatches(runes, 0, func(m regexp2.MatchView) bool {
		start, n, _ := m.GroupRange(0)
		emit(start)
		emit(start + n)
		return true
	})
	emit(len(runes))
	return runes
}

// width returns the bytes that r takes at the beginning of text.
func width(text string, r rune) int {
	if r != utf8.RuneError {
		return utf8.RuneLen(r)
	}
	_, n := utf8.DecodeRuneInString(text)
	return n
}
