package daemon

import (
	"encoding/json"

	"edged/ipc"
	"edged/ipc/api"
)

// toolCalls collects the calls of an answer as its message keeps them.
type toolCalls []api.ToolCall

func (t *toolCalls) add(pieces []ipc.CallDelta) {
	for _, p := range pieces {
		if p.Index == len(*t) {
			*t = append(*t, api.ToolCall{ID: p.ID, Type: "function", Function: api.FunctionCall{Name: p.Name}})
		}
		(*t)[p.Index].Function.Arguments += p.Arguments
	}
}

// json is nil when there are no calls.
func (t toolCalls) json() json.RawMessage {
	if len(t) == 0 {
		return nil
	}
	raw, err := json.Marshal([]api.ToolCall(t))
	if err != nil {
		panic(err) // strings always marshal
	}
	return raw
}
