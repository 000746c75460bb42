package infer

import (
	"errors"
	"fmt"

	"edged/infer/chat"
	"edged/infer/tok"
)

// isRole says what a message may be. Templates write roles into control
// tokens, such as '<|' + role + '|>', so that a free choice would let a client
// write any of them.
func isRole(s string) bool {
	switch s {
	case "system", "user", "assistant", "tool":
		return true
	}
	return false
}

// isTemplateWord says whether templates compare strings of a request with s.
// Such a word is not guarded, because a guard may rewrite what is part of a
// control token's text, as "text" is of <|endoftext|>.
func isTemplateWord(s string) bool {
	switch s {
	case "developer", "function", "text", "image", "audio", "video",
		"role", "content", "name", "type", "id", "arguments", "description", "parameters", "properties", "required", "items", "enum",
		"object", "array", "string", "number", "integer", "boolean", "null", "true", "false", "low", "medium", "high":
		return true
	}
	return isRole(s)
}

// guardText keeps the text of a request from spelling control tokens.
func guardText(t *tok.Tokenizer) func(string) string {
	return func(s string) string {
		if isTemplateWord(s) {
			return s
		}
		return t.Guard(s)
	}
}

// render makes the prompt of a chat request.
func (f *front) render(req *Request) (string, error) {
	for i, m := range req.Messages {
		if !isRole(m.Role) {
			return "", &InvalidError{fmt.Sprintf("messages[%d].role", i), fmt.Sprintf("must be system, user, assistant or tool, got %q", m.Role)}
		}
	}
	r, err := f.toolChat(req)
	if err != nil {
		return "", err
	}
	text, err := f.chat.Render(r)
	var malformed *chat.RequestError
	switch {
	case errors.As(err, &malformed):
		return "", &InvalidError{malformed.Field, malformed.Err.Error()}
	case err != nil:
		return "", &InvalidError{"messages", err.Error()}
	}
	return text, nil
}
