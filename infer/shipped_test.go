package infer

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/chat"
)

// startShipped makes an engine with the repository's model on the real
// backend.
func startShipped(t *testing.T) *Engine {
	t.Helper()
	files, err := filepath.Glob("../models/*.gguf")
	if err != nil || len(files) == 0 {
		t.Fatalf("the repository's model is missing: %v", err)
	}
	e, err := New(Config{Models: []ModelConfig{{Name: "needle", Path: files[0], Context: 1024}}, Backend: "cpu", ChunkTok: 64, Threads: 1, HostBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := e.Load(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	return e
}

// answer is a text with everything that could differ between two runs.
type answer struct {
	Text     string
	Finish   Finish
	Tokens   []int32
	Logprobs []float32
	Tops     []float32
}

func ask(t *testing.T, e *Engine, turns ...string) (answer, Usage) {
	var a answer
	req := &Request{Logprobs: true, TopLogprobs: 3, MaxTokens: 40}
	for i, text := range turns {
		req.Messages = append(req.Messages, chat.Message{Role: []string{"user", "assistant"}[i%2], Content: text})
	}
	res, err := e.Generate(t.Context(), req, func(d Delta) error {
		a.Text += string(d.Text)
		for _, l := range d.Logprobs {
			a.Tokens, a.Logprobs = append(a.Tokens, l.ID), append(a.Logprobs, l.Logprob)
			for _, alt := range l.Top {
				a.Tops = append(a.Tops, alt.Logprob)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	a.Finish = res.Finish
	return a, res.Usage
}

// notes is a document with four access codes.
func notes() (doc string, key func(i int) string, code func(i int) string) {
	names := []string{"amber-falcon", "quiet-harbor", "velvet-engine", "copper-meadow"}
	key = func(i int) string { return names[i] }
	code = func(i int) string { return fmt.Sprint(4182935 + i*1013579) }
	var b strings.Builder
	for i := range names {
		fmt.Fprintf(&b, "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\nNote: the access code of %s is %s.\n", key(i), code(i))
	}
	return b.String(), key, code
}

// Logits have the same bits on a reused prefix, beside other requests and
// alone.
func TestShippedModelAnswersTheSameHoweverItRuns(t *testing.T) {
	doc, key, code := notes()
	question := func(i int) string { return doc + "What is the access code of " + key(i) + "?" }
	e := startShipped(t)
	alone := make([]answer, 4)
	for i := range alone {
		var u Usage
		if alone[i], u = ask(t, e, question(i)); u.Cached == 0 != (i == 0) {
			t.Errorf("question %d: %d of %d tokens cached", i, u.Cached, u.Prompt)
		}
		if !strings.Contains(alone[i].Text, code(i)) || alone[i].Finish != FinishStop {
			t.Errorf("question %d: %q, %s; want %s", i, alone[i].Text, alone[i].Finish, code(i))
		}
	}
	followUp, u := ask(t, e, question(0), alone[0].Text, "What is the access code of "+key(2)+"?")
	if !strings.Contains(followUp.Text, code(2)) || u.Cached < u.Prompt/2 {
		t.Errorf("second turn: %q, %+v", followUp.Text, u)
	}
	fresh := startShipped(t)
	var wg sync.WaitGroup
	for i := 3; i >= 0; i-- {
		wg.Go(func() {
			if got, _ := ask(t, fresh, question(i)); !cmp.Equal(got, alone[i]) {
				t.Errorf("question %d beside others: %s", i, cmp.Diff(alone[i], got))
			}
		})
	}
	wg.Wait()
	other := startShipped(t)
	if got, u := ask(t, other, question(0), alone[0].Text, "What is the access code of "+key(2)+"?"); u.Cached != 0 || !cmp.Equal(got, followUp) {
		t.Errorf("second turn without a cache (%d cached): %s", u.Cached, cmp.Diff(followUp, got))
	}
}
