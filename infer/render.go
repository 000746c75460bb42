package infer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"edged/infer/chat"
	"edged/infer/tok"
)

// roles are what a message may be. Templates write roles into control tokens,
// such as '<|' + role + '|>', so that a free choice would let a client write
// any of them.
var roles = []string{"system", "user", "assistant", "tool"}

// templateWords are what templates compare strings of a request with. They are
// not guarded, because a guard may rewrite a word that is part of a control
// token's text, as "text" is of <|endoftext|>.
var templateWords = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range append(strings.Fields(`developer function text image audio video
		role content name type id arguments description parameters properties required items enum
		object array string number integer boolean null true false low medium high`), roles...) {
		words[w] = true
	}
	return words
}()

// guardText keeps the text of a request from spelling control tokens.
func guardText(t *tok.Tokenizer) func(string) string {
	return func(s string) string {
		if templateWords[s] {
			return s
		}
		return t.Guard(s)
	}
}

// render makes the prompt of a chat request.
func (f *front) render(req *Request) (string, error) {
	for i, m := range req.Messages {
		if !slices.Contains(roles, m.Role) {
			return "", &InvalidError{fmt.Sprintf("messages[%d].role", i), fmt.Sprintf("must be one of %s, got %q", strings.Join(roles, ", "), m.Role)}
		}
	}
	text, err := f.chat.Render(chat.Request{Messages: req.Messages, Tools: req.Tools, Vars: req.Vars, AddGenerationPrompt: true})
	var malformed *chat.RequestError
	switch {
	case errors.As(err, &malformed):
		return "", &InvalidError{malformed.Field, malformed.Err.Error()}
	case err != nil:
		return "", &InvalidError{"messages", err.Error()}
	}
	return text, nil
}
