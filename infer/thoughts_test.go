package infer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/chat"
)

// thinkingTemplate is one that opens the thought itself.
const thinkingTemplate = toyTemplate + `<think>
{# it takes earlier thoughts out at </think> #}`

func TestThoughtsAreTakenOut(t *testing.T) {
	question := []chat.Message{{Role: "user", Content: "6 times 7?"}}
	type split struct {
		Thought, Text string
		Calls         []CallDelta
		Finish        Finish
		ThoughtTok    int
	}
	for _, c := range []struct {
		name, template, answer string // template: a family's, "opening" or "plain"
		change                 func(*Request)
		want                   split
	}{
		{"a family that thinks", "qwen3", "<think>\nWell.\n</think>\n\nIt is 42.", nil,
			split{Thought: "Well.", Text: "It is 42.", Finish: FinishStop, ThoughtTok: len("<think>\nWell.\n</think>")}},
		{"an answer without one", "qwen3", "It is 42.", nil, split{Text: "It is 42.", Finish: FinishStop}},
		{"a family that does not", "qwen2.5", "<think>a</think>b", nil, split{Text: "<think>a</think>b", Finish: FinishStop}},
		{"a template that opens it", "opening", "Well.\n</think>\n\nIt is 42.", nil,
			split{Thought: "Well.", Text: "It is 42.", Finish: FinishStop, ThoughtTok: len("Well.\n</think>")}},
		{"cut off", "opening", "Well, well, well.", func(r *Request) { r.MaxTokens = 5 }, split{Thought: "Well,", Finish: FinishLength, ThoughtTok: 5}},
		{"wanted as it is", "qwen3", "<think>a</think>b", func(r *Request) { r.RawThoughts = true }, split{Text: "<think>a</think>b", Finish: FinishStop}},
		{"a grammar", "opening", "", func(r *Request) { r.Grammar = &Grammar{Field: "grammar", GBNF: `root ::= "yes"`} }, split{Text: "yes", Finish: FinishStop}},
		{"a prompt without template", "qwen3", "<think>a</think>b", func(r *Request) { r.Messages, r.Prompt = nil, &Prompt{Text: "6 times 7 is"} },
			split{Text: "<think>a</think>b", Finish: FinishStop}},
		{"calls behind it", "qwen3", "<think>\nI could <tool_call> it.\n</think>\n\n<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>",
			func(r *Request) { r.Tools = weatherRequest(nil).Tools },
			split{Thought: "I could <tool_call> it.", Calls: []CallDelta{{Name: "time", Arguments: "{}"}}, Finish: FinishCalls, ThoughtTok: len("<think>\nI could <tool_call> it.\n</think>")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e *Engine
			if c.template == "opening" {
				e = startTemplate(t, thinkingTemplate, c.answer)
			} else {
				e = startFamily(t, c.template, c.answer)
			}
			req := &Request{Messages: question, MaxTokens: 400}
			if c.change != nil {
				c.change(req)
			}
			var got split
			res, err := e.Generate(t.Context(), req, func(d Delta) error {
				if len(d.Thought) > 0 && got.Text != "" {
					t.Errorf("the thought goes on with %q behind the text %q", d.Thought, got.Text)
				}
				got.Thought, got.Text = got.Thought+string(d.Thought), got.Text+string(d.Text)
				for _, call := range d.Calls {
					if call.Index == len(got.Calls) {
						got.Calls = append(got.Calls, CallDelta{Index: call.Index, Name: call.Name})
					}
					got.Calls[call.Index].Arguments += call.Arguments
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got.Finish, got.ThoughtTok = res.Finish, res.Usage.Thought
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
