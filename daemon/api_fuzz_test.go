package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/infer"
	"edged/ipc"
	"edged/offload"
	"edged/store"
)

// fuzzServer is the whole API with a real engine and a real store behind it.
type fuzzServer struct {
	socket string
	engine *infer.Engine
	user   store.User
	id     string // of a session
}

// newFuzzServer has a context so short that no answer takes long.
func newFuzzServer(f *testing.F) *fuzzServer {
	f.Helper()
	log := slog.New(slog.DiscardHandler)
	dir := f.TempDir()
	engine, err := infer.New(infer.Config{
		Models:  []infer.ModelConfig{{Name: "needle", Path: "../models/needle-26m-q8_0.gguf", Context: 96, Policy: "auto", Cache: offload.Options{}}},
		Threads: 1, HostBytes: 1 << 29, MaxSeqs: 2, CacheSeqs: 2, ChunkTok: 32, Logger: log,
	})
	if err != nil {
		f.Fatal(err)
	}
	if err := engine.Load(f.Context(), "", nil); err != nil {
		f.Fatal(err)
	}
	kept, err := store.Open(f.Context(), store.Options{Dir: filepath.Join(dir, "sessions")})
	if err != nil {
		f.Fatal(err)
	}
	api := newAdapter(engine, DefaultConfig().Sampling, kept, log)
	api.quota.limits = func() Store { return Store{UserSessions: 40} }
	l, err := ipc.Listen(filepath.Join(dir, "s"))
	if err != nil {
		f.Fatal(err)
	}
	server := ipc.New(api, serverOptions(log, DefaultConfig(), kept, api))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-served, engine.Close(), kept.Close()); err != nil {
			f.Error(err)
		}
	})
	return &fuzzServer{socket: filepath.Join(dir, "s"), engine: engine, user: kept.User(uint32(os.Getuid()))}
}

// session is one that exists: requests may have deleted the last one.
func (s *fuzzServer) session(t testing.TB) string {
	if _, err := s.user.Get(s.id); err == nil {
		return s.id
	}
	x, err := s.user.Create(store.New{Title: "fuzz", Model: "needle"})
	if err != nil {
		t.Fatal(err)
	}
	s.id = x.ID
	return s.id
}

// fuzzMethods are what a request's first byte chooses from.
var fuzzMethods = []string{"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT"}

// send sends a request as bytes and reads all of the answer, nil for none. $S stands
// for the session's id.
func (s *fuzzServer) send(t testing.TB, method, path, header, body string) ([]byte, *http.Response) {
	t.Helper()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fill := func(text string) string { return strings.ReplaceAll(text, "$S", s.id) }
	body = fill(body)
	raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", method, fill(path), len(body), fill(header), body)
	// A refused request may be answered before it is read.
	_, _ = io.WriteString(conn, raw)
	all, ended := readFor(t, conn, 3*time.Second)
	if !ended {
		// The header or the body may lack something that the server waits for. What ends
		// there must be answered, and what has begun be cancelled.
		_ = conn.(*net.UnixConn).CloseWrite()
		rest, ended := readFor(t, conn, 5*time.Second)
		if all = append(all, rest...); !ended {
			t.Fatalf("no answer to %q", raw)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), &http.Request{Method: method})
	if err != nil {
		return nil, nil // net/http answers what is no HTTP in its own way, or not at all
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil // cut off, as exports are when they fail
	}
	return answer, resp
}

// readFor reads until the server closes the connection, for a time at most.
func readFor(t testing.TB, conn net.Conn, d time.Duration) (read []byte, ended bool) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	read, err := io.ReadAll(conn)
	return read, !errors.Is(err, os.ErrDeadlineExceeded)
}

// FuzzAPI sends requests of any kind to the whole daemon. None may end it, make the
// engine fail, show as an internal error, or stay without an answer.
func FuzzAPI(f *testing.F) {
	s := newFuzzServer(f)
	for _, c := range fuzzSeeds {
		f.Add(byte(slices.Index(fuzzMethods, c[0])), c[1], c[2], c[3])
	}
	f.Fuzz(func(t *testing.T, method byte, path, header, body string) {
		s.session(t)
		answer, resp := s.send(t, fuzzMethods[int(method)%len(fuzzMethods)], path, header, body)
		if resp == nil {
			return
		}
		if bytes.Contains(answer, []byte(`"code":"internal_error"`)) || resp.StatusCode == http.StatusInternalServerError {
			t.Errorf("%d %s", resp.StatusCode, answer)
		}
		if resp.Header.Get("Content-Type") == "application/json" && len(answer) > 0 && !json.Valid(answer) {
			t.Errorf("the answer is no JSON: %q", answer)
		}
		if st := s.engine.Status(); st.State != infer.Ready {
			t.Fatalf("the engine is %v: %s", st.State, st.Reason)
		}
	})
}

const fuzzChat = `{"messages":[{"role":"user","content":"Note: the access code of red-apple is 4711.\nWhat is it?"}],`

// fuzzSeeds are a method, a path, headers and a body each.
var fuzzSeeds = [][4]string{
	{"POST", "/v1/chat/completions", "", fuzzChat + `"max_tokens":8,"temperature":0}`},
	{"POST", "/v1/chat/completions", "", fuzzChat + `"max_tokens":8,"stream":true,"stream_options":{"include_usage":true,"include_progress":true,"include_reach":true}}`},
	{"POST", "/v1/chat/completions", "", fuzzChat + `"max_tokens":6,"n":2,"logprobs":true,"top_logprobs":3,"seed":7,"temperature":1.5,"top_p":0.9,"top_k":40,"min_p":0.01,"typical_p":0.9,"repeat_penalty":1.1,"repeat_last_n":-1,"presence_penalty":1,"frequency_penalty":-1,"logit_bias":{"17":-100,"18":5},"stop":["x","\n"]}`},
	{"POST", "/v1/chat/completions", "", fuzzChat + `"max_tokens":40,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":{"a":{"type":"integer","minimum":1,"maximum":9},"b":{"enum":["x",null]},"c":{"type":"array","items":{"$ref":"#/$defs/d"},"maxItems":2}},"required":["a"],"additionalProperties":false,"$defs":{"d":{"type":"string","pattern":"^[a-c]{1,3}$"}}}}}}`},
	{"POST", "/v1/chat/completions", "", fuzzChat + `"max_tokens":20,"grammar":"root ::= \"a\" [b-d]{2,4} (x | \"y\")*\nx ::= \"z\""}`},
	{"POST", "/v1/chat/completions", "", fuzzChat + `"max_tokens":20,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"required"}`},
	{"POST", "/v1/chat/completions", "Edged-Session: $S\r\n", fuzzChat + `"max_tokens":4}`},
	{"POST", "/v1/chat/completions", "", fuzzChat + `"max_tokens":4,"session":"$S","recompute":true}`},
	{"POST", "/v1/chat/completions", "X-Request-Timeout: 0.01\r\n", fuzzChat + `"chat_template_kwargs":{"enable_thinking":false,"x":[1,{"y":null}]},"reasoning_format":"none"}`},
	{"POST", "/v1/chat/completions", "", `{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}],"reasoning_content":"r"},{"role":"tool","tool_call_id":"1","content":"x"}],"max_tokens":3}`},
	{"POST", "/v1/completions", "", `{"prompt":"Once","max_tokens":4,"logprobs":2,"echo":false}`},
	{"POST", "/v1/completions", "", `{"prompt":[[1,2,3]],"max_tokens":4,"echo":true,"stream":true}`},
	{"POST", "/v1/embeddings", "", `{"input":["a","bc",[]],"encoding_format":"base64","dimensions":4}`},
	{"POST", "/v1/embeddings", "", `{"input":[[1,2],[3]],"dimensions":100000}`},
	{"POST", "/v1/responses", "", `{"input":"Hi","instructions":"Be brief.","store":true,"max_output_tokens":4,"metadata":{"k":"v"}}`},
	{"POST", "/v1/responses", "", `{"input":[{"role":"user","content":"a"},{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"t"}]},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"r"}],"max_output_tokens":3,"stream":true}`},
	{"POST", "/v1/responses", "", `{"input":"b","previous_response_id":"resp_$S","max_output_tokens":3}`},
	{"GET", "/v1/responses/resp_$S", "", ""},
	{"DELETE", "/v1/responses/resp_x", "", ""},
	{"POST", "/v1/messages", "anthropic-version: 2023-06-01\r\n", `{"max_tokens":4,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"Hi"}],"stream":true,"thinking":{"type":"enabled","budget_tokens":1024}}`},
	{"POST", "/v1/messages/count_tokens", "", `{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"tools":[{"name":"f","input_schema":{}}]}`},
	{"POST", "/tokenize", "", `{"content":"A <|x|> ü","add_special":true,"with_pieces":true}`},
	{"POST", "/detokenize", "", `{"tokens":[1,2,3]}`},
	{"GET", "/v1/models", "", ""}, {"GET", "/v1/models/needle", "", ""}, {"GET", "/readyz", "", ""}, {"GET", "/healthz?verbose", "", ""},
	{"GET", "/v1/sessions?limit=2&tag=x&search=y", "", ""}, {"POST", "/v1/sessions", "", `{"title":"t","tags":["a"],"pinned":true,"model":"needle"}`},
	{"GET", "/v1/sessions/$S?history=true", "", ""}, {"PATCH", "/v1/sessions/$S", "", `{"title":"u","pinned":false}`},
	{"POST", "/v1/sessions/$S/fork", "", `{"at":0,"title":"f"}`}, {"GET", "/v1/sessions/$S/export", "", ""},
	{"POST", "/v1/sessions/import", "", "edged"}, {"DELETE", "/v1/sessions/$S", "", ""},
	{"OPTIONS", "/v1/chat/completions", "Origin: http://x\r\n", ""}, {"POST", "/v1/chat/completions", "Content-Encoding: gzip\r\n", "x"},
}
