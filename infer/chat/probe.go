package chat

import (
	"encoding/json"
	"errors"
	"strings"
)

// support is what the probe conversations showed.
type support struct{ system, tools bool }

// Words that no template contains, to see whether they reach the prompt.
const (
	probeSystem = "qsystemprobeq"
	probeUser   = "quserprobeq"
	probeTool   = "qtoolprobeq"
)

const probeTools = `[{"type": "function", "function": {"name": "` + probeTool + `", "description": "Probe.",
	"parameters": {"type": "object", "properties": {"a": {"type": "string", "description": "A."}}, "required": ["a"]}}}]`

// probe renders small conversations. One user turn must work, with a system
// message if not without. A template may refuse the others in its own words
// (raise_exception), but must not fail on a longer conversation by itself.
func (t *Template) probe() (support, error) {
	user := Message{Role: "user", Content: probeUser}
	system := Message{Role: "system", Content: probeSystem}
	answer := Message{Role: "assistant", Content: "qanswerprobeq"}
	var s support

	withSystem, sysErr := t.try(nil, system, user)
	s.system = sysErr == nil && strings.Contains(withSystem, probeSystem)
	if _, err := t.try(nil, user); err != nil {
		if sysErr != nil {
			return s, err
		}
		// Only with a system message, then.
		_, err = t.try(nil, system, user, answer, user)
		return s, unlessRaised(err)
	}
	if err := unlessRaised(sysErr); err != nil {
		return s, err
	}
	if _, err := t.try(nil, user, answer, user); unlessRaised(err) != nil {
		return s, err
	}
	// An error here means that tools do not work with this template, not that
	// the template is useless.
	withTools, err := t.try(json.RawMessage(probeTools), user)
	s.tools = err == nil && strings.Contains(strings.ToLower(withTools), probeTool)
	return s, nil
}

// try renders a probe without the guard, which could hide the probe's words.
func (t *Template) try(tools json.RawMessage, messages ...Message) (string, error) {
	bare := *t
	bare.opt.Guard = nil
	return bare.Render(Request{Messages: messages, Tools: tools, AddGenerationPrompt: true})
}

func unlessRaised(err error) error {
	var raised *RaisedError
	if errors.As(err, &raised) {
		return nil
	}
	return err
}
