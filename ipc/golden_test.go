package ipc_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// two answers "Hi", " <ü>" with a cached prompt.
func two(_ context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	res := ipc.Result{
		FinishReason: ipc.FinishStop, PromptTokens: 12, CachedTokens: 4, CompletionTokens: 3,
		PromptTime: 20_000_000, PredictTime: 30_000_000,
	}
	deltas := []ipc.Delta{
		{Progress: &ipc.Progress{Done: 4, Total: 12, Cached: 4}},
		{Progress: &ipc.Progress{Done: 12, Total: 12, Cached: 4}},
		{Text: "Hi"},
		{Text: ""}, // first half of a code point: with logprobs this is a chunk, without it is not
		{Text: " <ü>"},
	}
	if req.Logprobs {
		top := []ipc.TokenLogprob{{ID: 7, Bytes: []byte("Hi"), Logprob: -0.5}}[:min(1, req.TopLogprobs)]
		deltas[2].Logprobs = []ipc.TokenLogprob{{ID: 7, Bytes: []byte("Hi"), Logprob: -0.5, Top: top}}
		deltas[3].Logprobs = []ipc.TokenLogprob{{ID: 8, Bytes: []byte(" <\xc3"), Logprob: -1}}
		deltas[4].Logprobs = []ipc.TokenLogprob{{ID: 9, Bytes: []byte("\xbc>"), Logprob: -2}}
	}
	if req.Reach > 0 {
		res.Reach = &ipc.Reach{Tokens: 15, Layers: 4, Sparse: 3, Share: []float32{1, 0.25}}
	}
	for _, d := range deltas {
		if err := emit(d); err != nil {
			return res, err
		}
	}
	return res, nil
}

const timings = `"timings":{"cache_n":4,"prompt_n":8,"prompt_ms":20,"prompt_per_second":400,"predicted_n":3,"predicted_ms":30,"predicted_per_second":100}`
const usage = `"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}`
const chunkHead = `data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"scripted",`
const textHead = `data: {"id":"cmpl-ID","object":"text_completion","created":1700000000,"model":"scripted",`
const model = `{"id":"scripted","object":"model","created":1700000000,"owned_by":"edged","max_model_len":4096,"loaded":true,"meta":{"n_vocab":256,"n_ctx_train":8192,"n_params":26000000,"size":28000000}}`

var goldens = []struct {
	name, method, path, body string
	want                     string
}{
	{
		name: "chat", method: "POST", path: "/v1/chat/completions", body: chatBody,
		want: `{"id":"chatcmpl-ID","object":"chat.completion","created":1700000000,"model":"scripted","choices":[{"index":0,"message":{"role":"assistant","content":"Hi <ü>","refusal":null},"logprobs":null,"finish_reason":"stop"}],` + usage + `,` + timings + "}\n",
	},
	{
		name: "chat without prefix and model", method: "POST", path: "/chat/completions", body: `{"messages":[{"role":"user","content":"x"}],"max_tokens":null,"max_completion_tokens":null}`,
		want: `{"id":"chatcmpl-ID","object":"chat.completion","created":1700000000,"model":"scripted","choices":[{"index":0,"message":{"role":"assistant","content":"Hi <ü>","refusal":null},"logprobs":null,"finish_reason":"stop"}],` + usage + `,` + timings + "}\n",
	},
	{
		name: "chat stream", method: "POST", path: "/v1/chat/completions", body: `{"stream":true,"messages":[{"role":"user","content":"x"}]}`,
		want: chunkHead + `"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":" <ü>"},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
			"data: [DONE]\n\n",
	},
	{
		name: "chat stream with usage and progress", method: "POST", path: "/v1/chat/completions",
		body: `{"stream":true,"stream_options":{"include_usage":true,"include_progress":true},"messages":[{"role":"user","content":"x"}]}`,
		want: chunkHead + `"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[],"progress":{"done":4,"total":12,"cached":4}}` + "\n\n" +
			chunkHead + `"choices":[],"progress":{"done":12,"total":12,"cached":4}}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":" <ü>"},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
			chunkHead + `"choices":[],` + usage + `,` + timings + "}\n\n" +
			"data: [DONE]\n\n",
	},
	{
		name: "chat stream with reach", method: "POST", path: "/v1/chat/completions",
		body: `{"stream":true,"stream_options":{"include_reach":true},"messages":[{"role":"user","content":"x"}]}`,
		want: chunkHead + `"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":" <ü>"},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"reach":{"tokens":15,"layers":4,"sparse":3,"share":[1,0.25]}}` + "\n\n" +
			"data: [DONE]\n\n",
	},
	{
		name: "chat stream with logprobs", method: "POST", path: "/v1/chat/completions",
		body: `{"stream":true,"logprobs":true,"top_logprobs":1,"messages":[{"role":"user","content":"x"}]}`,
		want: chunkHead + `"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":{"content":[{"id":7,"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[{"id":7,"token":"Hi","logprob":-0.5,"bytes":[72,105]}]}],"refusal":null},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":""},"logprobs":{"content":[{"id":8,"token":" <` + "\uFFFD" + `","logprob":-1,"bytes":[32,60,195],"top_logprobs":[]}],"refusal":null},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{"content":" <ü>"},"logprobs":{"content":[{"id":9,"token":"` + "\uFFFD" + `>","logprob":-2,"bytes":[188,62],"top_logprobs":[]}],"refusal":null},"finish_reason":null}]}` + "\n\n" +
			chunkHead + `"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
			"data: [DONE]\n\n",
	},
	{
		name: "completion", method: "POST", path: "/v1/completions", body: `{"model":"scripted","prompt":"x"}`,
		want: `{"id":"cmpl-ID","object":"text_completion","created":1700000000,"model":"scripted","choices":[{"index":0,"text":"Hi <ü>","logprobs":null,"finish_reason":"stop"}],` + usage + `,` + timings + "}\n",
	},
	{
		name: "completion with echo of token ids", method: "POST", path: "/v1/completions", body: `{"prompt":[[65, 66]],"echo":true}`,
		want: `{"id":"cmpl-ID","object":"text_completion","created":1700000000,"model":"scripted","choices":[{"index":0,"text":"ABHi <ü>","logprobs":null,"finish_reason":"stop"}],` + usage + `,` + timings + "}\n",
	},
	{
		name: "completion with logprobs", method: "POST", path: "/v1/completions", body: `{"prompt":"x","logprobs":1}`,
		want: `{"id":"cmpl-ID","object":"text_completion","created":1700000000,"model":"scripted","choices":[{"index":0,"text":"Hi <ü>","logprobs":{"tokens":["Hi","bytes:\\x20\\x3c\\xc3","bytes:\\xbc\\x3e"],"token_logprobs":[-0.5,-1,-2],"top_logprobs":[{"Hi":-0.5},{},{}],"text_offset":[0,2,5]},"finish_reason":"stop"}],` + usage + `,` + timings + "}\n",
	},
	{
		name: "completion stream", method: "POST", path: "/v1/completions", body: `{"prompt":["x"],"stream":true,"echo":true,"stream_options":{"include_usage":true}}`,
		want: textHead + `"choices":[{"index":0,"text":"x","logprobs":null,"finish_reason":null}]}` + "\n\n" +
			textHead + `"choices":[{"index":0,"text":"Hi","logprobs":null,"finish_reason":null}]}` + "\n\n" +
			textHead + `"choices":[{"index":0,"text":" <ü>","logprobs":null,"finish_reason":null}]}` + "\n\n" +
			textHead + `"choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}]}` + "\n\n" +
			textHead + `"choices":[],` + usage + `,` + timings + "}\n\n" +
			"data: [DONE]\n\n",
	},
	{name: "models", method: "GET", path: "/v1/models", want: `{"object":"list","data":[` + model + "]}\n"},
	{name: "models without prefix", method: "GET", path: "/models/", want: `{"object":"list","data":[` + model + "]}\n"},
	{name: "model", method: "GET", path: "/v1/models/scripted", want: model + "\n"},
	{name: "model head", method: "HEAD", path: "/v1/models/scripted", want: ""},
	{name: "tokenize", method: "POST", path: "/tokenize", body: `{"content":"Aü"}`, want: `{"tokens":[65,195,188]}` + "\n"},
	{name: "tokenize nothing", method: "POST", path: "/tokenize", body: `{"content":""}`, want: `{"tokens":[]}` + "\n"},
	{
		name: "tokenize with pieces", method: "POST", path: "/v1/tokenize", body: `{"content":"Aü","with_pieces":true,"add_special":true}`,
		want: `{"tokens":[{"id":256,"piece":"<s>"},{"id":65,"piece":"A"},{"id":195,"piece":[195]},{"id":188,"piece":[188]}]}` + "\n",
	},
	{name: "detokenize", method: "POST", path: "/detokenize", body: `{"tokens":[65, 195, 188 ]}`, want: `{"content":"Aü"}` + "\n"},
	{name: "detokenize nothing", method: "POST", path: "/detokenize", body: `{"tokens":[]}`, want: `{"content":""}` + "\n"},
	{name: "live", method: "GET", path: "/healthz", want: `{"status":"ok"}` + "\n"},
	{name: "ready", method: "GET", path: "/readyz", want: `{"status":"ready"}` + "\n"},
}

func TestGolden(t *testing.T) {
	s := serveSocket(t, scripted(func(e *ipctest.Engine) { e.GenerateFunc = two }))
	for _, tt := range goldens {
		t.Run(tt.name, func(t *testing.T) {
			a := s.do(t, tt.method, tt.path, tt.body)
			if diff := cmp.Diff(tt.want, a.body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if a.status != 200 {
				t.Errorf("status %d, want 200", a.status)
			}
			if got := a.header.Get("X-Request-Id"); got != "req-ID" {
				t.Errorf("X-Request-Id is %q", got)
			}
		})
	}
}

func TestStreamHeaders(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	a := s.do(t, "POST", "/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"x"}]}`)
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Content-Length": "",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
