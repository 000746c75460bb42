package infer

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/chat"
	"edged/infer/graph"
)

// startFamily makes a toy whose template is that of a family of models, and that
// says answer, when there is one, whatever it is asked.
func startFamily(t *testing.T, template, answer string) *Engine {
	t.Helper()
	source, err := os.ReadFile("chat/testdata/templates/" + template + ".jinja")
	if err != nil {
		t.Fatal(err)
	}
	return startTemplate(t, string(source), answer)
}

// startTemplate is startFamily for a template of the test's own.
func startTemplate(t *testing.T, source, answer string) *Engine {
	t.Helper()
	b := &toyBackend{}
	if answer != "" {
		first := -1
		b.say = func(pos int) int32 {
			if pos < 4 { // the proof of the model
				return 'x'
			}
			if first < 0 || pos < first {
				first = pos
			}
			if i := pos - first; i < len(answer) {
				return int32(answer[i])
			}
			return toyEnd
		}
	}
	open := func(path string) (*modelFile, error) {
		m, err := toyOpen(4096)(path)
		if err != nil {
			return nil, err
		}
		m.front.chat, err = chat.New(source, chat.Options{BOS: "<|bos|>", Guard: guardText(m.front.tok)})
		return m, err
	}
	cfg := toyConfig()
	cfg.ChunkTok = 4096 // one step per prompt, so that the first position with an output is its last
	cfg.HostBytes = 1 << 28
	e, err := newEngine(cfg, open, func(string) (graph.Backend, error) { return b, nil })
	if err != nil {
		t.Fatal(err)
	}
	run(t, e)
	loadDefault(t, e)
	return e
}

func weatherRequest(change func(*Request)) *Request {
	r := &Request{
		Messages: []chat.Message{{Role: "user", Content: "Weather in Rome?"}}, MaxTokens: 400,
		Tools: &Tools{
			JSON: json.RawMessage(`[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}},{"type":"function","function":{"name":"time"}}]`),
			Functions: []Function{
				{"weather", json.RawMessage(`{"type":"object","properties":{"city":{"type":"string","maxLength":8},"days":{"type":"integer","minimum":1,"maximum":5}},"required":["city","days"],"additionalProperties":false}`)},
				{"time", nil},
			},
		},
	}
	if change != nil {
		change(r)
	}
	return r
}

type heardCall struct{ Name, Arguments string }

func converse(t *testing.T, e *Engine, r *Request) (text string, calls []heardCall, res Result, err error) {
	t.Helper()
	res, err = e.Generate(t.Context(), r, func(d Delta) error {
		text += string(d.Text)
		for _, c := range d.Calls {
			if c.Name != "" {
				calls = append(calls, heardCall{Name: c.Name})
			}
			calls[c.Index].Arguments += c.Arguments
		}
		return nil
	})
	return text, calls, res, err
}

// What a family's model writes becomes calls.
func TestCallsOfFamilies(t *testing.T) {
	for _, tt := range []struct{ template, answer, text string }{
		{"qwen2.5", "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>", "Let me see."},
		{"qwen3", "<think>\nHm.\n</think>\n\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"time\"}\n</tool_call>", ""},
		{"llama32_like", `{"name": "weather", "parameters": {"city": "Rome"}}; {"name": "time", "parameters": {}}`, ""},
		{"gemma3_like", "```json\n[{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}, {\"name\": \"time\"}]\n```", ""},
	} {
		t.Run(tt.template, func(t *testing.T) {
			e := startFamily(t, tt.template, tt.answer)
			text, calls, res, err := converse(t, e, weatherRequest(nil))
			if err != nil {
				t.Fatal(err)
			}
			want := []heardCall{{"weather", `{"city": "Rome"}`}, {"time", "{}"}}
			if diff := cmp.Diff(want, calls); diff != "" || text != tt.text || res.Finish != FinishCalls {
				t.Errorf("text %q, finish %s (-want +got):\n%s", text, res.Finish, diff)
			}
		})
	}
}

// A model that says anything at all makes valid calls when it must.
func TestForcedCalls(t *testing.T) {
	for _, template := range []string{"qwen2.5", "llama31_like", "gemma3_like"} {
		t.Run(template, func(t *testing.T) {
			e := startFamily(t, template, "")
			for seed := range uint64(6) {
				_, calls, res, err := converse(t, e, weatherRequest(func(r *Request) {
					r.Tools.Must, r.Tools.Single = true, seed%2 == 0
					r.Sampling.Temperature, r.Sampling.Seed = 1, &seed
				}))
				if err != nil {
					t.Fatal(err)
				}
				if len(calls) == 0 || seed%2 == 0 && len(calls) != 1 || res.Finish == FinishStop {
					t.Fatalf("seed %d: %v, finish %s", seed, calls, res.Finish)
				}
				for _, c := range calls {
					var args struct {
						City *string
						Days int
					}
					dec := json.NewDecoder(strings.NewReader(c.Arguments))
					dec.DisallowUnknownFields()
					if err := dec.Decode(&args); err != nil || c.Name == "weather" && (args.City == nil || args.Days < 1 || args.Days > 5) {
						t.Errorf("seed %d: %v: %v", seed, c, err)
					}
				}
			}
		})
	}
}

func TestToolsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		template, want string
		change         func(*Request)
	}{
		{"smollm2", "are not supported by model toy", nil},
		{"qwen3", "the keyword not is not supported", func(r *Request) {
			r.Tools.Must, r.Tools.Functions[1].Parameters = true, json.RawMessage(`{"not":{}}`)
		}},
		{"qwen3", "together with response_format", func(r *Request) { r.Grammar = &Grammar{Field: "response_format", AnyObject: true} }},
		{"qwen3", "do not fit in the 5 tokens", func(r *Request) { r.Tools.Must, r.MaxTokens = true, 5 }},
	} {
		e := startFamily(t, tt.template, "")
		_, _, _, err := converse(t, e, weatherRequest(tt.change))
		var bad *InvalidError
		if !errors.As(err, &bad) || bad.Field != "tools" || !strings.Contains(bad.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.template, err, tt.want)
		}
	}
}
