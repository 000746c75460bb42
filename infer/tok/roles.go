package tok

import (
	"fmt"
	"slices"
)

// roles are the tokens that steer generation.
type roles struct {
	bos, eos, eot  int32
	addBOS, addEOS bool
	eog            map[int32]struct{}
}

// Well-known texts of special tokens, for files whose metadata leaves them out.
var (
	// eotTexts end a turn. The first that a vocabulary has is its EOT when the metadata names none.
	eotTexts = []string{
		"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<EOT>", "<end_of_utterance>",
		"<|end_of_text|>", "<|endoftext|>", "<｜end▁of▁sentence｜>",
	}
	// endTexts end a generation without ending a turn: a message, or a file or repository in code completion.
	endTexts = []string{
		"<|eom_id|>",
		"<|fim_pad|>", "<fim_pad>", "<fim-pad>",
		"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<reponame>",
		"<|file_sep|>",
	}
	// fimTexts frame the text of a code completion.
	fimTexts = []string{
		"<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<｜fim▁begin｜>",
		"<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<｜fim▁hole｜>",
		"<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<｜fim▁end｜>",
	}
	// eosTexts end a generation, but only as control tokens: the same texts are HTML tags in some vocabularies
	// (Gemma's "</s>" is a user-defined token).
	eosTexts = []string{"</s>", "<eos>"}
)

// alwaysControl reports whether a token with this text is a control token whatever type the file gives it: files
// exist that mark these as ordinary or user-defined, and then anyone's text could contain them.
func alwaysControl(text string) bool {
	if text == "" || text[0] != '<' {
		return false
	}
	return slices.Contains(eotTexts, text) || slices.Contains(endTexts, text) || slices.Contains(fimTexts, text)
}

// readRoles resolves the special ids. addBOS is the model family's default when the metadata does not say.
func readRoles(m Metadata, v *vocab, special *trie, addBOS bool) (roles, error) {
	r := roles{addBOS: addBOS}
	eom, fimPad, fimRepo, fimFile := NoToken, NoToken, NoToken, NoToken
	for _, key := range []struct {
		name string
		id   *int32
	}{
		{keyBOS, &r.bos}, {keyEOS, &r.eos}, {keyEOT, &r.eot}, {keyEOM, &eom},
		{keyFIMPad, &fimPad}, {keyFIMRepo, &fimRepo}, {keyFIMFile, &fimFile},
	} {
		var err error
		if *key.id, err = readID(m, v, key.name); err != nil {
			return roles{}, err
		}
	}
	if add, ok := m.Bool(keyAddBOS); ok {
		r.addBOS = add
	}
	r.addEOS, _ = m.Bool(keyAddEOS)
	if r.addBOS && r.bos == NoToken {
		return roles{}, fmt.Errorf("the model wants a BOS token, but %s is missing", keyBOS)
	}
	if r.addEOS && r.eos == NoToken {
		return roles{}, fmt.Errorf("the model wants an EOS token, but %s is missing", keyEOS)
	}
	r.findEnds(v, special, eom, fimPad, fimRepo, fimFile)
	return r, nil
}

// findEnds completes the end-of-turn token and collects the tokens that end a generation; more are those that the
// metadata names besides EOS and EOT.
func (r *roles) findEnds(v *vocab, special *trie, more ...int32) {
	r.eog = map[int32]struct{}{}
	for _, texts := range [][]string{eotTexts, endTexts, eosTexts} {
		for _, text := range texts {
			if id, ok := special.lookup(text); ok && v.class[id] == classControl {
				r.eog[id] = struct{}{}
			}
		}
	}
	for _, text := range eotTexts {
		if id, ok := special.lookup(text); ok && r.eot == NoToken {
			r.eot = id
		}
	}
	for _, id := range append(more, r.eos, r.eot) {
		if id != NoToken {
			r.eog[id] = struct{}{}
		}
	}
}

// readID reads an optional token id.
func readID(m Metadata, v *vocab, key string) (int32, error) {
	id, ok := m.Uint(key)
	if !ok {
		return NoToken, nil
	}
	if id >= uint64(v.size()) {
		return NoToken, fmt.Errorf("%s is %d, but there are %d tokens", key, id, v.size())
	}
	return int32(id), nil
}
