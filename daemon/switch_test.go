package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer"
	"edged/ipc"
	"edged/offload"
	"edged/store"
)

// twin is a model that answers as needle does, but is another one.
func twin(t *testing.T) infer.ModelConfig {
	t.Helper()
	data, err := os.ReadFile("../models/needle-26m-q8_0.gguf")
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("llama.context_length\x04\x00\x00\x00") // a uint32 follows
	at := bytes.Index(data, key)
	if at < 0 {
		t.Fatal("the model's file does not hold its context")
	}
	data[at+len(key)]++
	m := infer.ModelConfig{Name: "twin", Path: filepath.Join(t.TempDir(), "twin.gguf"), Context: 4096, Policy: "q8"}
	if err := os.WriteFile(m.Path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestModelsAreSwitchedUnderSessions asks two models in turn, each in a session of
// its own, while answers without a session run. A switch must cut none of them off,
// lose nothing of a session, and give all memory back.
func TestModelsAreSwitchedUnderSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	steady, d := newDesk(t, "q8", offload.Options{}), newDesk(t, "q8", offload.Options{})
	d.stop()
	d.others = []infer.ModelConfig{twin(t)}
	d.start()
	memory := d.engine.Status().Memory.Total()
	names := []string{"needle", "twin"}
	ids := []string{d.create("first"), ""}
	s, err := d.store.User(1000).Create(store.New{Title: "second", Model: "twin"})
	if err != nil {
		t.Fatal(err)
	}
	ids[1] = s.ID
	want := steady.create("steady")
	for turn, question := range []string{novel() + "What is the access code of harbour-lantern?", "And once more?"} {
		said, live := steady.ask(want, question)
		for i, name := range names {
			// Beside the session's turn, which needs the other model, one that runs on the present one.
			var beside sync.WaitGroup
			begun := make(chan struct{})
			beside.Go(func() { d.answerBeside(names[1-i], begun) })
			<-begun
			got, res, err := d.try(t.Context(), ids[i], question, func(r *ipc.Request) { r.Model = name })
			beside.Wait()
			if err != nil {
				t.Fatalf("turn %d of %s: %v", turn, name, err)
			}
			if diff := cmp.Diff(said, got); diff != "" || !res.Session.Durable || res.Session.Recomputed != "" {
				t.Errorf("turn %d of %s: %+v (-without switches +got):\n%s", turn, name, res.Session, diff)
			}
			if turn > 0 && (res.RestoredTokens == 0 || res.CachedTokens < live.CachedTokens) {
				t.Errorf("turn %d of %s: %d of %d tokens restored, %d cached; %d are without switches", turn, name, res.RestoredTokens, res.PromptTokens, res.CachedTokens, live.CachedTokens)
			}
		}
	}
	_, _, err = d.try(t.Context(), ids[0], "x", func(r *ipc.Request) { r.Model = "twin" })
	var refused *ipc.Error
	if !errors.As(err, &refused) || refused.Code != ipc.CodeSessionMismatch {
		t.Errorf("a session of another model: %v", err)
	}
	if err := d.engine.Load(t.Context(), "needle", nil); err != nil {
		t.Fatal(err)
	}
	if after := d.engine.Status().Memory.Total(); after != memory {
		t.Errorf("%d bytes are taken after the switches, %d were before", after, memory)
	}
}

// answerBeside asks for 100 tokens without a session; begun is closed once they come.
func (d *desk) answerBeside(model string, begun chan struct{}) {
	var once sync.Once
	bias := map[int32]float64{}
	for id := range int32(16) { // control tokens
		bias[id] = -100
	}
	res, err := d.api.Generate(context.WithoutCancel(d.t.Context()), &ipc.Request{ID: "beside", Model: model, UID: 1000, MaxTokens: 100,
		Messages: []ipc.Message{{Role: "user", Content: "Hello?"}}, Sampling: ipc.Sampling{LogitBias: bias}},
		func(x ipc.Delta) error {
			if x.Text != "" {
				once.Do(func() { close(begun) })
			}
			return nil
		})
	once.Do(func() { close(begun) })
	if err != nil || res.CompletionTokens != 100 {
		d.t.Errorf("beside a switch, %s gave %d of 100 tokens: %v", model, res.CompletionTokens, err)
	}
}
