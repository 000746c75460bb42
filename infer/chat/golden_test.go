package chat

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// golden is one file of testdata/golden, made by testdata/make_golden.py.
type golden struct {
	Now     string `json:"now"`
	BOS     string `json:"bos_token"`
	EOS     string `json:"eos_token"`
	Renders map[string]struct {
		Prompt *string `json:"prompt"`
		Raised *string `json:"raised"`
		Error  string  `json:"error"`
	} `json:"renders"`
}

// conversation is one request of testdata/conversations.json.
type conversation struct {
	Messages []struct {
		Role             string          `json:"role"`
		Content          json.RawMessage `json:"content"`
		Name             string          `json:"name"`
		ToolCallID       string          `json:"tool_call_id"`
		ReasoningContent string          `json:"reasoning_content"`
		ToolCalls        json.RawMessage `json:"tool_calls"`
	} `json:"messages"`
	Tools               json.RawMessage `json:"tools"`
	AddGenerationPrompt bool            `json:"add_generation_prompt"`
	Vars                map[string]any  `json:"vars"`
}

func (c conversation) request(t *testing.T) Request {
	req := Request{AddGenerationPrompt: c.AddGenerationPrompt, Vars: c.Vars}
	if string(c.Tools) != "null" {
		req.Tools = c.Tools
	}
	for _, m := range c.Messages {
		msg := Message{Role: m.Role, Name: m.Name, ToolCallID: m.ToolCallID, ReasoningContent: m.ReasoningContent, ToolCalls: m.ToolCalls}
		if m.Content[0] == '[' {
			msg.Parts = m.Content
		} else if err := json.Unmarshal(m.Content, &msg.Content); err != nil {
			t.Fatal(err)
		}
		req.Messages = append(req.Messages, msg)
	}
	return req
}

func readJSON[T any](t *testing.T, path string) T {
	t.Helper()
	var v T
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

func loadGolden(t *testing.T, templatePath, goldenPath string) (*Template, golden) {
	t.Helper()
	source, err := os.ReadFile(templatePath)
	if err != nil {
		t.Fatal(err)
	}
	g := readJSON[golden](t, goldenPath)
	now, err := time.Parse("2006-01-02T15:04:05.999999", g.Now)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := New(string(source), Options{BOS: g.BOS, EOS: g.EOS, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return tmpl, g
}

// TestGolden demands the bytes that Jinja2 and transformers made, the message
// of every raise_exception, and an error wherever they gave one.
func TestGolden(t *testing.T) {
	testGolden(t, "testdata/templates", "testdata/golden")
}

func testGolden(t *testing.T, templateDir, goldenDir string) {
	conversations := readJSON[map[string]conversation](t, "testdata/conversations.json")
	paths, err := filepath.Glob(filepath.Join(templateDir, "*.jinja"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".jinja")
		t.Run(name, func(t *testing.T) {
			tmpl, g := loadGolden(t, path, filepath.Join(goldenDir, name+".json"))
			if len(g.Renders) != len(conversations) {
				t.Fatalf("golden has %d renders, there are %d conversations", len(g.Renders), len(conversations))
			}
			for id, want := range g.Renders {
				got, err := tmpl.Render(conversations[id].request(t))
				var raised *RaisedError
				switch {
				case want.Prompt != nil:
					if err != nil {
						t.Errorf("%s: %v", id, err)
					} else if diff := cmp.Diff(*want.Prompt, got); diff != "" {
						t.Errorf("%s (-want +got):\n%s", id, diff)
					}
				case want.Raised != nil:
					if !errors.As(err, &raised) || raised.Message != *want.Raised {
						t.Errorf("%s: got %q, %v; want raised %q", id, got, err, *want.Raised)
					}
				case err == nil || errors.As(err, &raised):
					t.Errorf("%s: got %q, %v; want an error like %s", id, got, err, want.Error)
				}
			}
		})
	}
}
