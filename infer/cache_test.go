package infer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"edged/infer"
	"edged/infer/chat"
	"edged/offload"
)

// document is long enough for pages to be chosen among, and holds one fact.
func document(fact string) string {
	var b strings.Builder
	for i := range 60 {
		if i == 20 {
			b.WriteString(fact + "\n")
		}
		fmt.Fprintf(&b, "The river of line %d runs past the mill and the old bridge.\n", i)
	}
	return b.String()
}

func startCache(t *testing.T, policy string, o offload.Options) *infer.Engine {
	t.Helper()
	e, err := infer.New(infer.Config{
		Models:  []infer.ModelConfig{{Name: "needle", Path: "../models/needle-26m-q8_0.gguf", Context: 2048, Policy: policy, Cache: o}},
		Backend: "cpu", Threads: 2, HostBytes: 1 << 30, MaxSeqs: 3, CacheSeqs: 2, ChunkTok: 128,
	})
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

func ask(ctx context.Context, e *infer.Engine, doc, question string, emit func(infer.Delta) error) (string, infer.Result, error) {
	var text strings.Builder
	req := &infer.Request{MaxTokens: 40, Reach: 16}
	req.Messages = append(req.Messages, chat.Message{Role: "user", Content: doc + question})
	r, err := e.Generate(ctx, req, func(d infer.Delta) error {
		text.Write(d.Text)
		if emit != nil {
			return emit(d)
		}
		return nil
	})
	return text.String(), r, err
}

// Every policy answers through the engine: several requests at once, one that
// leaves in the middle of its prompt, and a second question on what was read.
func TestPoliciesAnswerThroughTheEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model many times")
	}
	for _, c := range []struct {
		policy string
		opt    offload.Options
		kept   string
	}{
		{"full", offload.Options{}, "exact f16"},
		{"q8", offload.Options{}, "q8 resident"},
		{"auto", offload.Options{}, "exact f16"},
		{"auto", offload.Options{Sparse: true, Budget: 256}, "paged q8"},
	} {
		t.Run(c.policy+" as "+c.kept, func(t *testing.T) {
			e := startCache(t, c.policy, c.opt)
			if s := e.Status(); s.Cache != c.kept {
				t.Fatalf("cache is %s", s.Cache)
			}
			var g errgroup.Group
			for i := range 3 {
				g.Go(func() error {
					code := fmt.Sprintf("31415%d%d", i, i)
					doc := document("Note: the access code of harbour-lantern is " + code + ".")
					for range 2 {
						text, r, err := ask(t.Context(), e, doc, "What is the access code of harbour-lantern?", nil)
						if err != nil {
							return err
						}
						if !strings.Contains(text, code) {
							return fmt.Errorf("answer %q does not hold %s (%+v)", text, code, r.Usage)
						}
					}
					return nil
				})
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, _, err := ask(ctx, e, document("left early"), "What?", nil); !errors.Is(err, context.Canceled) {
				t.Errorf("a caller who left got %v", err)
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			doc := document("Note: the access code of velvet-compass is 2718281.")
			if _, _, err := ask(t.Context(), e, doc, "What is the access code of velvet-compass?", nil); err != nil {
				t.Fatal(err)
			}
			text, r, err := ask(t.Context(), e, doc, "What is the access code of velvet-compass?", nil)
			if err != nil || !strings.Contains(text, "2718281") {
				t.Errorf("asked again: %q, %v", text, err)
			}
			if r.Reach == nil || r.Reach.Tokens < r.Usage.Prompt || (r.Reach.Share != nil) != c.opt.Sparse {
				t.Errorf("the answer says that it attended to %+v", r.Reach)
			}
			if r.Usage.Cached < r.Usage.Prompt/2 {
				t.Errorf("only %d of %d prompt tokens were still there", r.Usage.Cached, r.Usage.Prompt)
			}
		})
	}
}
