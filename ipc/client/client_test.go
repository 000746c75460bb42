package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/client"
	"edged/ipc/ipctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, engine ipc.Engine) *client.Client {
	t.Helper()
	c := client.New(ipctest.Serve(t, engine, ipc.Options{}))
	t.Cleanup(c.Close)
	return c
}

func ask(content string) api.ChatRequest {
	return api.ChatRequest{Messages: []api.Message{{Role: "user", Content: content}}}
}

func TestChat(t *testing.T) {
	c := newClient(t, ipctest.New())
	var deltas []client.Delta
	got, err := c.Chat(t.Context(), ask("What?"), func(d client.Delta) error {
		deltas = append(deltas, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.ID, "chatcmpl-") {
		t.Errorf("id %q", got.ID)
	}
	got.ID = ""
	want := client.Answer{
		Model: "scripted", Text: "The answer is 42.", FinishReason: "stop",
		Usage:   api.Usage{PromptTokens: 5, CompletionTokens: 5, TotalTokens: 10},
		Timings: api.Timings{PromptN: 5, PromptMS: 10, PromptPerSecond: 500, PredictedN: 5, PredictedMS: 25, PredictedPerSecond: 200},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	wantDeltas := []client.Delta{
		{Progress: &api.Progress{Total: 5}}, {Progress: &api.Progress{Done: 5, Total: 5}},
		{Text: "The"}, {Text: " answer"}, {Text: " is"}, {Text: " 42"}, {Text: "."},
	}
	if diff := cmp.Diff(wantDeltas, deltas); diff != "" {
		t.Errorf("deltas (-want +got):\n%s", diff)
	}
	if plain, err := c.Chat(t.Context(), ask("What?"), nil); err != nil || plain.Text != want.Text {
		t.Errorf("without a callback: %q, %v", plain.Text, err)
	}
}

// TestRequest checks that every option arrives as it was meant.
func TestRequest(t *testing.T) {
	engine := ipctest.New()
	c := newClient(t, engine)
	req := ask("x")
	req.Model = "scripted"
	req.Options = api.Options{
		MaxTokens: new(3), Temperature: new(0.0), TopP: new(0.9), TopK: new(0), MinP: new(0.1), TypicalP: new(0.8), RepeatPenalty: new(1.1),
		RepeatLastN: new(0), PresencePenalty: new(1.0), FrequencyPenalty: new(-1.0), Seed: new(int64(0)), LogitBias: map[string]float64{"7": 2}, Stop: []string{"a", "b"},
	}
	req.Logprobs, req.TopLogprobs = true, 2
	req.ChatTemplateKwargs = map[string]any{"enable_thinking": false}
	got, err := c.Chat(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.FinishReason != "length" || len(got.Logprobs) != 3 || len(got.Logprobs[0].TopLogprobs) != 2 {
		t.Errorf("got %+v", got)
	}
	r := engine.Requests()[0]
	want := &ipc.Request{
		ID: r.ID, UID: uint32(os.Getuid()), Client: fmt.Sprintf("pid %d", os.Getpid()),
		Model: "scripted", Messages: []ipc.Message{{Role: "user", Content: "x"}}, TemplateVars: []byte(`{"enable_thinking":false}`),
		MaxTokens: 3, Stop: []string{"a", "b"}, Logprobs: true, TopLogprobs: 2,
		Sampling: ipc.Sampling{
			Temperature: new(0.0), TopP: new(0.9), TopK: new(0), MinP: new(0.1), TypicalP: new(0.8), RepeatPenalty: new(1.1),
			RepeatLastN: new(0), PresencePenalty: new(1.0), FrequencyPenalty: new(-1.0), Seed: new(int64(0)), LogitBias: map[int32]float64{7: 2},
		},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestComplete(t *testing.T) {
	engine := ipctest.New()
	c := newClient(t, engine)
	for _, prompt := range []any{"AB", []int32{65, 66}} {
		var text strings.Builder
		got, err := c.Complete(t.Context(), api.CompletionRequest{Prompt: prompt, Echo: true}, func(d client.Delta) error {
			text.WriteString(d.Text)
			return nil
		})
		if err != nil || got.Text != "ABThe answer is 42." || text.String() != got.Text || got.Usage.PromptTokens != 2 {
			t.Errorf("%v: got %+v, %v", prompt, got, err)
		}
	}
	got, err := c.Complete(t.Context(), api.CompletionRequest{Prompt: "x", Logprobs: new(1)}, nil)
	want := []int{0, 3, 10, 13, 16}
	if err != nil || got.CompletionLogprobs == nil || cmp.Diff(want, got.CompletionLogprobs.TextOffset) != "" {
		t.Errorf("got %+v, %v", got.CompletionLogprobs, err)
	}
}

func TestModelsAndTokens(t *testing.T) {
	c := newClient(t, ipctest.New())
	list, err := c.Models(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != "scripted" || list[0].MaxModelLen != 4096 {
		t.Errorf("models: %+v, %v", list, err)
	}
	one, err := c.Model(t.Context(), "scripted")
	if err != nil || cmp.Diff(list[0], one) != "" {
		t.Errorf("model: %+v, %v", one, err)
	}
	plain, err := c.Tokenize(t.Context(), api.TokenizeRequest{Content: "ü", AddSpecial: true})
	if diff := cmp.Diff([]client.Token{{ID: 256}, {ID: 195}, {ID: 188}}, plain); diff != "" || err != nil {
		t.Errorf("tokens: %v %s", err, diff)
	}
	pieces, err := c.Tokenize(t.Context(), api.TokenizeRequest{Content: "Aü", WithPieces: true})
	want := []client.Token{{65, []byte("A")}, {195, []byte{195}}, {188, []byte{188}}}
	if diff := cmp.Diff(want, pieces); diff != "" || err != nil {
		t.Errorf("pieces: %v %s", err, diff)
	}
	for ids, want := range map[string]string{"Aü": "Aü", "": ""} {
		var tokens []int32
		for _, b := range []byte(ids) {
			tokens = append(tokens, int32(b))
		}
		if got, err := c.Detokenize(t.Context(), "", tokens); err != nil || got != want {
			t.Errorf("detokenize %q: %q, %v", ids, got, err)
		}
	}
}

func TestReady(t *testing.T) {
	engine := ipctest.New()
	c := newClient(t, engine)
	for _, tt := range []struct {
		status ipc.Status
		want   api.Health
	}{
		{ipc.Status{State: ipc.Ready}, api.Health{Status: "ready"}},
		{ipc.Status{State: ipc.Loading, Text: "40 %"}, api.Health{Status: "loading", Text: "40 %"}},
	} {
		engine.SetStatus(tt.status)
		if got, err := c.Ready(t.Context()); err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	_, err := c.Chat(t.Context(), ask("x"), nil)
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 503 || e.RetryAfter != 2*time.Second || *e.Code != "loading" {
		t.Errorf("while loading: %+v", err)
	}
}

func TestErrors(t *testing.T) {
	c := newClient(t, ipctest.New())
	var e *client.Error
	if _, err := c.Chat(t.Context(), ask(strings.Repeat("x", 5000)), nil); !errors.As(err, &e) ||
		e.Status != 400 || e.NPromptTokens != 5000 || e.NCtx != 4096 || *e.Param != "messages" || !strings.HasPrefix(e.RequestID, "req-") {
		t.Errorf("got %+v", err)
	}
	if _, err := c.Model(t.Context(), "no/such model"); !errors.As(err, &e) || e.Status != 404 || !strings.Contains(e.Message, `"no/such model"`) {
		t.Errorf("got %+v", err)
	}
	part, err := c.Chat(t.Context(), ask(ipctest.Failing), nil)
	if !errors.As(err, &e) || e.Status != 0 || *e.Code != "internal_error" || part.Text != "The" {
		t.Errorf("got %+v with %q", err, part.Text)
	}
}

func TestCancel(t *testing.T) {
	engine := ipctest.New()
	c := newClient(t, engine)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Chat(ctx, ask(ipctest.Endless), func(d client.Delta) error {
		if d.Text != "" {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: %v", err)
	}
	stop := errors.New("enough")
	got, err := c.Chat(t.Context(), ask(ipctest.Endless), func(d client.Delta) error {
		if d.Text != "" {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || got.Text != "The" {
		t.Errorf("error of the callback: %v with %q", err, got.Text)
	}
	for range 2 { // the test's own time limit ends this
		<-engine.Cancelled()
	}
}

func TestNotRunning(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none")
	if _, err := client.New(missing).Models(t.Context()); !errors.Is(err, client.ErrNotRunning) || err.Error() != "the daemon is not running (socket "+missing+": no such file or directory)" {
		t.Errorf("no socket: %v", err)
	}
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := client.New(stale).Chat(t.Context(), ask("x"), nil); !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("stale socket: %v", err)
	}
	if os.Getuid() != 0 { // root may connect to anything
		l, err := ipc.Listen(filepath.Join(dir, "locked"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := os.Chmod(l.Addr().String(), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := client.New(l.Addr().String()).Models(t.Context()); !errors.Is(err, client.ErrNoAccess) {
			t.Errorf("no permission: %v", err)
		}
	}
}

// TestBrokenServers checks what is made of answers that no daemon of ours gives.
func TestBrokenServers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
	for _, tt := range []struct{ name, answer, want string }{
		{"cut off", ok + "data: {\"choices\":[]}\n\n", client.ErrCutOff.Error()},
		{"nothing", ok, client.ErrCutOff.Error()},
		{"not JSON", ok + "data: nonsense\n\n", "decode event: invalid character"},
		{"other type", ok + "data: {\"choices\":5}\n\n", "decode event: json: cannot unmarshal number"},
		{"endless line", ok + "data: " + strings.Repeat("x", 5<<20), "event of more than 4194304 bytes"},
		{"plain error", "HTTP/1.1 431 Too Large\r\nConnection: close\r\n\r\nno", "the daemon answered 431 Too Large: no"},
		{"error without message", "HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n{}", "the daemon answered 500 Oops: {}"},
		{"no HTTP", "hello\r\n\r\n", "call daemon: "},
		{"carriage returns and comments", ok + ": keepalive\r\n\r\nid: 5\r\ndata:{\"choices\":[]}\r\n\r\ndata: [DONE]\r\n\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := client.New(answering(t, tt.answer))
			defer c.Close()
			_, err := c.Chat(t.Context(), ask("x"), nil)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// answering serves one connection with a fixed answer.
func answering(t *testing.T, answer string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 64<<10)
		if _, err := c.Read(buf); err != nil {
			return
		}
		c.Write([]byte(answer)) // the client may hang up early
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

func TestEmbed(t *testing.T) {
	c := newClient(t, ipctest.New())
	got, err := c.Embed(t.Context(), "", 2, "ab", "abc")
	want := client.Embeddings{Model: "scripted", Vectors: [][]float32{ipctest.Vector(2)[:2], ipctest.Vector(3)[:2]}, Usage: api.EmbeddingUsage{PromptTokens: 5, TotalTokens: 5}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	var refused *client.Error
	if _, err := c.Embed(t.Context(), "", 9, "ab"); !errors.As(err, &refused) || refused.Param == nil || *refused.Param != "dimensions" {
		t.Errorf("got %v", err)
	}
}
