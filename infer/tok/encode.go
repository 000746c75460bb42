package tok

// Encode appends the ids of plain text. Control tokens are never parsed: their text is encoded as any other.
// User-defined tokens are matched. No BOS or EOS is added.
func (t *Tokenizer) Encode(dst []int32, text string) []int32 {
	return t.encode(dst, text, classUser)
}

// EncodeSpecial appends the ids of trusted text, in which control tokens are parsed wherever they stand. No BOS or
// EOS is added.
func (t *Tokenizer) EncodeSpecial(dst []int32, text string) []int32 {
	return t.encode(dst, text, classUser|classControl)
}

// EncodeRendered appends the ids of a rendered chat template. Control tokens that the template wrote are parsed;
// text that went through [Tokenizer.Guard] yields none, and is encoded as if it had been put there as it was.
func (t *Tokenizer) EncodeRendered(dst []int32, rendered string) []int32 {
	for at := 0; at < len(rendered); {
		start, end, id := t.special.find(rendered, at, classControl)
		dst = t.encode(dst, unguard(rendered[at:start]), classUser)
		if id != NoToken {
			dst = append(dst, id)
		}
		at = end
	}
	return dst
}

// encode splits text at special tokens of the given classes.
func (t *Tokenizer) encode(dst []int32, text string, special class) []int32 {
	for at := 0; at < len(text); {
		start, end, id := t.special.find(text, at, special)
		if start > at {
			dst = t.model.encode(dst, text[at:start])
		}
		if id != NoToken {
			dst = append(dst, id)
		}
		at = end
	}
	return dst
}
