package ipc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/ipctest"
)

func TestEmbeddings(t *testing.T) {
	e := ipctest.New()
	s := serveSocket(t, e)
	a := s.do(t, "POST", "/v1/embeddings", `{"input":["ab",[1,2,3]],"user":"u"}`)
	want := `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.9092974,-0.41614684,0]},` +
		`{"object":"embedding","index":1,"embedding":[0.14112,-0.9899925,0]}],"model":"scripted","usage":{"prompt_tokens":5,"total_tokens":5}}` + "\n"
	if diff := cmp.Diff(want, a.body); diff != "" || a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v (-want +got):\n%s", a.status, a.header, diff)
	}
	// Two floats of four bytes each.
	a = s.do(t, "POST", "/embeddings", `{"model":"scripted","input":"ab","encoding_format":"base64","dimensions":2}`)
	if want := `"embedding":"t8doPzMR1b4="`; !strings.Contains(a.body, want) {
		t.Errorf("got %s, want %s", a.body, want)
	}
	got := e.Embeds()
	for _, r := range got {
		r.ID, r.UID = strings.TrimRight(r.ID, "0123456789abcdef"), 0
		if r.Client, _, _ = strings.Cut(r.Client, " "); r.Client == "" {
			t.Error("the client is not told")
		}
		r.Client = ""
	}
	requests := []*ipc.EmbedRequest{
		{ID: "embd-ID", Model: "scripted", Inputs: []ipc.Prompt{{Text: "ab"}, {Tokens: []int32{1, 2, 3}}}},
		{ID: "embd-ID", Model: "scripted", Inputs: []ipc.Prompt{{Text: "ab"}}, Dimensions: 2},
	}
	if diff := cmp.Diff(requests, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// Every form of an input that OpenAI's API has.
func TestEmbeddingInputs(t *testing.T) {
	e := ipctest.New()
	s := serveSocket(t, e)
	for _, c := range []struct {
		input string
		want  []ipc.Prompt
	}{
		{`"a"`, []ipc.Prompt{{Text: "a"}}},
		{`["a"]`, []ipc.Prompt{{Text: "a"}}},
		{`["a", "bc"]`, []ipc.Prompt{{Text: "a"}, {Text: "bc"}}},
		{`[5]`, []ipc.Prompt{{Tokens: []int32{5}}}},
		{`[5, 6]`, []ipc.Prompt{{Tokens: []int32{5, 6}}}},
		{`[[5, 6]]`, []ipc.Prompt{{Tokens: []int32{5, 6}}}},
		{`[[5], [6]]`, []ipc.Prompt{{Tokens: []int32{5}}, {Tokens: []int32{6}}}},
	} {
		a := s.do(t, "POST", "/v1/embeddings", `{"input":`+c.input+`}`)
		list := e.Embeds()
		if diff := cmp.Diff(c.want, list[len(list)-1].Inputs); diff != "" || a.status != http.StatusOK {
			t.Errorf("%s: %d %s (-want +got):\n%s", c.input, a.status, a.body, diff)
		}
	}
}

func TestEmbeddingsRefuse(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	for _, c := range []struct{ body, param, message string }{
		{`{}`, "input", "input is required: a string, an array of token ids, or an array of these"},
		{`{"input":null}`, "input", "input is required: a string, an array of token ids, or an array of these"},
		{`{"input":5}`, "input", "input must be a string, an array of token ids, or an array of these, got 5"},
		{`{"input":{}}`, "input", "input must be a string, an array of token ids, or an array of these, got {}"},
		{`{"input":""}`, "input", "input must not be empty"},
		{`{"input":[]}`, "input", "input must hold at least one input, got []"},
		{`{"input":["a",""]}`, "input[1]", "input[1] must not be empty"},
		{`{"input":["a",5]}`, "input[1]", "input[1] must be a string or an array of token ids, got 5"},
		{`{"input":[[1],[]]}`, "input[1]", "input[1] must hold at least one token id, got []"},
		{`{"input":[[1],["a"]]}`, "input[1]", `input[1] must be a string or an array of token ids, but element 0 is none: ["a"]`},
		{`{"input":[5,"a"]}`, "input", `input must be a string, an array of token ids, or an array of these, but element 1 is none: [5,"a"]`},
		{`{"input":[1.5]}`, "input", `input must be a string, an array of token ids, or an array of these, but element 0 is none: [1.5]`},
		{`{"input":[` + strings.Repeat(`"a",`, 2048) + `"a"]}`, "input", "input has more than 2048 inputs"},
		{`{"input":"a","dimensions":0}`, "dimensions", "dimensions must be an integer from 1 to 2147483647, got 0"},
		{`{"input":"a","dimensions":4}`, "dimensions", "dimensions must be from 1 to 3, got 4"},
		{`{"input":"a","encoding_format":"int8"}`, "encoding_format", `encoding_format must be "float" or "base64", got "int8"`},
		{`{"input":"a","encoding_format":1}`, "encoding_format", "encoding_format must be a string, got 1"},
		{`{"input":"a","truncate_prompt_tokens":5}`, "truncate_prompt_tokens", "truncate_prompt_tokens is not supported by this server, got 5; leave it out"},
		{`{"input":"a","normalize":false}`, "normalize", "normalize is not supported by this server, got false; only true is accepted"},
	} {
		a := s.do(t, "POST", "/v1/embeddings", c.body)
		var got api.ErrorResponse
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusBadRequest {
			t.Errorf("%.60s: %d %s", c.body, a.status, a.body)
			continue
		}
		if got.Error.Param == nil || *got.Error.Param != c.param || got.Error.Message != c.message {
			t.Errorf("%.60s: %s, want %s about %s", c.body, a.body, c.message, c.param)
		}
	}
	a := s.do(t, "POST", "/v1/embeddings", `{"input":["a","`+strings.Repeat("b", 5000)+`"]}`)
	want := `{"error":{"message":"input 1 has 5000 tokens, but the context holds 4096; cut it into pieces or serve the model with a longer context",` +
		`"type":"invalid_request_error","param":"input[1]","code":"context_length_exceeded","n_prompt_tokens":5000,"n_ctx":4096}}` + "\n"
	if diff := cmp.Diff(want, a.body); diff != "" || a.status != http.StatusBadRequest || a.header.Get("X-Should-Retry") != "false" {
		t.Errorf("%d (-want +got):\n%s", a.status, diff)
	}
	if a := s.do(t, "POST", "/v1/embeddings", `{"model":"x","input":"a"}`); a.status != http.StatusNotFound || !strings.Contains(a.body, "model_not_found") {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.mustServe(t)
}

// embedder is the scripted engine with another Embed.
type embedder struct {
	*ipctest.Engine
	embed func(ctx context.Context, accepted func()) (ipc.Embeddings, error)
}

func (e *embedder) Embed(ctx context.Context, _ *ipc.EmbedRequest, accepted func()) (ipc.Embeddings, error) {
	return e.embed(ctx, accepted)
}

func TestEmbeddingsEndWithTheirDeadline(t *testing.T) {
	e := &embedder{ipctest.New(), func(ctx context.Context, accepted func()) (ipc.Embeddings, error) {
		accepted()
		<-ctx.Done()
		return ipc.Embeddings{}, fmt.Errorf("stopped: %w", ctx.Err())
	}}
	s := serveSocket(t, e)
	a := s.do(t, "POST", "/v1/embeddings", `{"input":"a"}`, "X-Request-Timeout", "0.01")
	if a.status != http.StatusGatewayTimeout || !strings.Contains(a.body, `"code":"deadline_exceeded"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestEmbeddingsEndWithTheirClient(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e := &embedder{ipctest.New(), func(ctx context.Context, accepted func()) (ipc.Embeddings, error) {
		close(begun)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ipc.Embeddings{}, ctx.Err()
	}}
	s := serveSocket(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://localhost/v1/embeddings", strings.NewReader(`{"input":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-begun; cancel() }()
	if resp, err := s.client.Do(req); err == nil {
		resp.Body.Close()
		t.Error("an answer came although the client has left")
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the engine was not told that the client has left")
	}
}

// What an engine gives is checked, and its failures do not take the daemon along.
func TestEmbeddingsOfABrokenEngine(t *testing.T) {
	for name, embed := range map[string]func(context.Context, func()) (ipc.Embeddings, error){
		"too few vectors": func(context.Context, func()) (ipc.Embeddings, error) { return ipc.Embeddings{}, nil },
		"failure":         func(context.Context, func()) (ipc.Embeddings, error) { return ipc.Embeddings{}, errors.New("broken") },
		"panic":           func(context.Context, func()) (ipc.Embeddings, error) { panic("broken") },
	} {
		t.Run(name, func(t *testing.T) {
			s := serveSocket(t, &embedder{ipctest.New(), embed})
			a := s.do(t, "POST", "/v1/embeddings", `{"input":"a"}`)
			if a.status != http.StatusInternalServerError || !strings.Contains(a.body, `"code":"internal_error"`) || strings.Contains(a.body, "broken") {
				t.Errorf("%d %s", a.status, a.body)
			}
			s.mustServe(t)
		})
	}
}

// Large vectors come back with the same bits.
func TestEmbeddingsKeepTheirBits(t *testing.T) {
	var vectors [][]float32
	for i := range 300 {
		v := make([]float32, 1000)
		for c := range v {
			v[c] = float32(math.Sin(float64(i*1000+c))) / float32(1+c*c)
		}
		vectors = append(vectors, v)
	}
	s := serveSocket(t, &embedder{ipctest.New(), func(_ context.Context, accepted func()) (ipc.Embeddings, error) {
		accepted()
		return ipc.Embeddings{Vectors: vectors}, nil
	}})
	a := s.do(t, "POST", "/v1/embeddings", `{"input":[`+strings.Repeat(`"a",`, 299)+`"a"]}`)
	var got api.EmbeddingList
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	for i, d := range got.Data {
		var v []float32
		if err := json.Unmarshal(d.Embedding, &v); err != nil || d.Index != i {
			t.Fatal(d.Index, err)
		}
		if diff := cmp.Diff(vectors[i], v); diff != "" {
			t.Fatalf("vector %d (-want +got):\n%s", i, diff)
		}
	}
}
