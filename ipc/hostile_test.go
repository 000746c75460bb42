package ipc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// hostile is a request that must be refused. Only what net/http itself refuses
// has no JSON body.
type hostile struct {
	name   string
	raw    string
	plain  bool
	status int // 0 = any 4xx
}

func post(path, body string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

const fullChat = `{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"hé"}]}],"temperature":0.5,"stop":["a"],"logit_bias":{"5":1},"max_tokens":3}`

// wrongTypes puts values of every other type into every field.
func wrongTypes() []hostile {
	values := map[string][]string{
		"string": {`5`, `-1`, `1.5`, `true`, `[]`, `{}`, `["x"]`},
		"bool":   {`5`, `0`, `"true"`, `[]`, `{}`, `[true]`},
		"int":    {`"5"`, `1.5`, `-9999999999`, `99999999999999999999`, `1e2`, `true`, `[]`, `{}`, `-3000000000`},
		"number": {`"1"`, `-1000`, `1000`, `1e400`, `-1e400`, `true`, `[]`, `{}`},
		"object": {`5`, `"x"`, `true`, `[]`, `[{}]`},
		"array":  {`5`, `"x"`, `true`, `{}`, `["5"]`, `[null]`, `[[]]`, `[{}]`},
		"stops":  {`5`, `true`, `{}`, `[5]`, `[null]`, `[[]]`, `[""]`, `""`},
	}
	fields := map[string]map[string]string{
		"/v1/chat/completions": {
			"model": "string", "stream": "bool", "stream_options": "object", "max_tokens": "int", "max_completion_tokens": "int",
			"temperature": "number", "top_p": "number", "top_k": "int", "min_p": "number", "typical_p": "number", "repeat_penalty": "number",
			"repetition_penalty": "number", "repeat_last_n": "int", "presence_penalty": "number", "frequency_penalty": "number",
			"logit_bias": "object", "stop": "stops", "logprobs": "bool", "top_logprobs": "int", "chat_template_kwargs": "object", "messages": "array",
			"session": "string", "recompute": "bool",
		},
		"/v1/completions": {
			"model": "string", "stream": "bool", "max_tokens": "int", "temperature": "number", "logprobs": "int", "echo": "bool", "stop": "stops",
		},
		"/v1/embeddings": {"model": "string", "user": "string", "dimensions": "int", "encoding_format": "string"},
		"/v1/responses":  {"model": "string", "stream": "bool", "max_output_tokens": "int", "store": "bool", "instructions": "string", "metadata": "object", "temperature": "number"},
		"/tokenize":      {"model": "string", "content": "string", "add_special": "bool", "parse_special": "bool", "with_pieces": "bool"},
		"/detokenize":    {"model": "string", "tokens": "array"},
	}
	rest := map[string]string{
		"/v1/chat/completions": `"messages":[{"role":"user","content":"x"}]`, "/v1/completions": `"prompt":"x"`,
		"/v1/embeddings": `"input":"x"`, "/v1/responses": `"input":"x"`,
		"/tokenize": `"content":"x"`, "/detokenize": `"tokens":[1]`,
	}
	var all []hostile
	for path, types := range fields {
		for field, kind := range types {
			for _, v := range values[kind] {
				body := fmt.Sprintf(`{%q:%s,%s}`, field, v, rest[path])
				if strings.HasPrefix(rest[path], `"`+field+`"`) {
					body = fmt.Sprintf(`{%q:%s}`, field, v)
				}
				all = append(all, hostile{name: path + " " + body, raw: post(path, body)})
			}
		}
	}
	return all
}

// brokenBodies cuts, nests and garbles a valid body.
func brokenBodies() []hostile {
	var all []hostile
	add := func(name, body string) {
		all = append(all, hostile{name: name, raw: post("/v1/chat/completions", body)})
	}
	for i := range len(fullChat) {
		add(fmt.Sprintf("cut at %d", i), fullChat[:i])
	}
	for i := 0; i < len(fullChat); i += 4 {
		for _, bad := range []string{"\xff", "\xc3", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80"} {
			add(fmt.Sprintf("%x at %d", bad, i), fullChat[:i]+bad+fullChat[i:])
		}
		if i > 0 {
			add(fmt.Sprintf("zero byte at %d", i), fullChat[:i]+"\x00"+fullChat[i:])
		}
	}
	for _, n := range []int{65, 1000, 100_000, 1_000_000} {
		add(fmt.Sprintf("%d arrays", n), strings.Repeat("[", n))
		add(fmt.Sprintf("%d closed arrays", n), strings.Repeat("[", n)+strings.Repeat("]", n))
		add(fmt.Sprintf("%d objects", n), strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n))
		add(fmt.Sprintf("%d arrays in a field", n), chatWith(`"x":`+strings.Repeat("[", n)+strings.Repeat("]", n)))
	}
	add("two values", fullChat+fullChat)
	add("trailing garbage", fullChat+"\n}")
	add("byte order mark", "\ufeff"+fullChat)
	add("UTF-16", "\xff\xfe{\x00}\x00")
	add("two models", `{"model":"scripted","model":"scripted","messages":[]}`)
	add("half a surrogate pair", messages(`{"role":"user","content":"\ud800"}`))
	add("long prompt", messages(`{"role":"user","content":"`+strings.Repeat("x", 1<<20)+`"}`))
	add("many messages", messages(strings.Repeat(`{"role":"user","content":"x"},`, 10_000)+`{}`))
	add("long stop", chatWith(`"stop":"`+strings.Repeat("x", 1<<20)+`"`))
	add("long model", chatWith(`"model":"`+strings.Repeat("x", 1<<20)+`"`))
	add("long number", chatWith(`"max_tokens":`+strings.Repeat("9", 1<<20)))
	add("long fraction", chatWith(`"temperature":3.`+strings.Repeat("9", 1<<20)))
	add("many logit biases", chatWith(`"logit_bias":{`+manyKeys(100_000)+`}`))
	add("many keys, twice one", `{`+manyKeys(100_000)+`,"7":1}`)
	all = append(all,
		hostile{name: "prompt of many ids", raw: post("/v1/completions", `{"prompt":[`+strings.Repeat("1,", 1<<20)+`1]}`)},
		hostile{name: "prompt of many strings", raw: post("/v1/completions", `{"prompt":[`+strings.Repeat(`"",`, 1<<20)+`""]}`)},
		hostile{name: "many bad ids", raw: post("/detokenize", `{"tokens":[`+strings.Repeat("0,", 1<<20)+`-1]}`)},
	)
	return all
}

func manyKeys(n int) string {
	var keys strings.Builder
	for i := range n {
		fmt.Fprintf(&keys, `%q:1,`, itoa(i))
	}
	return strings.TrimSuffix(keys.String(), ",")
}

// brokenHTTP is wrong before any body is looked at.
func brokenHTTP() []hostile {
	const line = "POST /v1/chat/completions HTTP/1.1\r\n"
	chunked := line + "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	return []hostile{
		{name: "declared too large", raw: line + "Host: x\r\nContent-Length: " + itoa(ipc.MaxBodyBytes+1) + "\r\n\r\n{", status: 413},
		{name: "declared far too large", raw: line + "Host: x\r\nContent-Length: 9223372036854775807\r\n\r\n{", status: 413},
		{name: "chunks too large", raw: chunked + strings.Repeat("100000\r\n"+strings.Repeat("[", 1<<20)+"\r\n", 33), status: 413},
		{name: "too few bytes", raw: line + "Host: x\r\nContent-Length: 100\r\n\r\n{"},
		{name: "chunk cut off", raw: chunked + "ff\r\n{"},
		{name: "no chunk size", raw: chunked + "xyz\r\n{"},
		{name: "huge chunk size", raw: chunked + "ffffffffffffffffff\r\n{"},
		{name: "no body", raw: line + "Host: x\r\n\r\n"},
		{name: "compressed", raw: line + "Host: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"},
		{name: "connect", raw: "CONNECT /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "trace", raw: "TRACE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "long path", raw: "GET /" + strings.Repeat("a", 60_000) + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "climbing path", raw: "GET /v1/models/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "path of zero bytes", raw: "GET /v1/models/%00%00 HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "path of bad UTF-8", raw: "GET /v1/models/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n"},

		{name: "garbage", raw: "\x00\x01\x02\x03\r\n\r\n", plain: true},
		{name: "TLS", raw: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", plain: true},
		{name: "HTTP/2", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{name: "HTTP/9", raw: "GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", plain: true, status: 505},
		{name: "no version", raw: "GET /healthz\r\n\r\n", plain: true},
		{name: "bad escape", raw: "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", plain: true},
		{name: "no host", raw: "GET /healthz HTTP/1.1\r\n\r\n", plain: true},
		{name: "two hosts", raw: "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", plain: true},
		{name: "bad header", raw: line + "Host: x\r\nbad header\r\n\r\n", plain: true},
		{name: "zero byte in header", raw: line + "Host: x\r\nA: \x00\r\n\r\n", plain: true},
		{name: "negative length", raw: line + "Host: x\r\nContent-Length: -1\r\n\r\n", plain: true},
		{name: "two lengths", raw: line + "Host: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", plain: true},
		{name: "unknown transfer encoding", raw: line + "Host: x\r\nTransfer-Encoding: snappy\r\n\r\n{}", plain: true, status: 501},
		{name: "unknown expectation", raw: line + "Host: x\r\nExpect: wonders\r\nContent-Length: 2\r\n\r\n{}", plain: true},
		{name: "long header", raw: line + "Host: x\r\nA: " + strings.Repeat("a", 2*ipc.MaxHeaderBytes) + "\r\n\r\n", plain: true, status: 431},
		{name: "many headers", raw: line + "Host: x\r\n" + strings.Repeat("A: b\r\n", 30_000) + "\r\n", plain: true, status: 431},
	}
}

// TestHostileRequests tests the daemon at EDGED_SOCKET, if that is set, and
// otherwise this package alone.
func TestHostileRequests(t *testing.T) {
	s := hostileTarget(t)
	all := append(append(wrongTypes(), brokenBodies()...), brokenHTTP()...)
	if len(all) < 500 {
		t.Fatalf("only %d requests", len(all))
	}
	for i, h := range all {
		if err := s.refuses(h); err != nil {
			t.Errorf("%.120s: %v", h.name, err)
		}
		if i%50 == 0 {
			s.mustServe(t)
		}
	}
	s.mustServe(t)
	t.Logf("%d requests refused", len(all))
}

func hostileTarget(t *testing.T) *served {
	path := os.Getenv("EDGED_SOCKET")
	if path == "" {
		return serveSocket(t, ipctest.New())
	}
	dial := func() (net.Conn, error) { return net.Dial("unix", path) }
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return dial() }}
	t.Cleanup(transport.CloseIdleConnections)
	return &served{client: &http.Client{Transport: transport}, dial: dial}
}

// refuses sends h, ends its side of the connection and checks the answer.
func (s *served) refuses(h hostile) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	go func() { // the server may answer, and stop reading, before it has everything
		io.WriteString(c, h.raw)
		c.(*net.UnixConn).CloseWrite()
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("read body: %w", err)
	case h.status != 0 && resp.StatusCode != h.status, h.status == 0 && resp.StatusCode/100 != 4:
		return fmt.Errorf("status %d: %s", resp.StatusCode, body)
	case h.plain:
		return nil
	}
	return checkErrorBody(body)
}

// checkErrorBody checks the shape that SDKs rely on.
func checkErrorBody(body []byte) error {
	var e struct {
		Error map[string]json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("body %.100q: %w", body, err)
	}
	for _, key := range []string{"message", "type", "param", "code"} {
		raw, ok := e.Error[key]
		nullable := key == "param" || key == "code"
		if !ok || len(raw) < 3 || raw[0] != '"' && !(nullable && string(raw) == "null") {
			return fmt.Errorf("%s is %s in %s", key, raw, body)
		}
	}
	if len(body) > 2000 {
		return fmt.Errorf("the error has %d bytes", len(body))
	}
	return nil
}

// TestMutations flips bits and swaps pieces of valid bodies. Some stay valid;
// none may be answered by anything but 200 or a 4xx in the right shape.
func TestMutations(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	rng := rand.New(rand.NewPCG(1, 2))
	paths := map[string]string{
		"/v1/chat/completions": fullChat, "/v1/completions": `{"prompt":[1,2,3],"logprobs":2,"max_tokens":4,"logit_bias":{"7":-1}}`,
		"/tokenize": `{"content":"héllo","add_special":true,"with_pieces":true}`, "/detokenize": `{"tokens":[104,105]}`,
	}
	for path, valid := range paths {
		for range 150 {
			body := []byte(valid)
			for range 1 + rng.IntN(4) {
				switch i := rng.IntN(len(body)); rng.IntN(3) {
				case 0:
					body[i] ^= 1 << rng.IntN(8)
				case 1:
					body = append(body[:i], body[i+1:]...)
				default:
					j := rng.IntN(len(body))
					body = bytes.Join([][]byte{body[:i], body[min(i, j):max(i, j)], body[i:]}, nil)
				}
			}
			a := s.do(t, "POST", path, string(body))
			if a.status == 200 {
				continue
			}
			if err := checkErrorBody([]byte(a.body)); err != nil || a.status/100 != 4 {
				t.Errorf("%s %q: %d %s: %v", path, body, a.status, a.body, err)
			}
		}
	}
	s.mustServe(t)
}

// TestStalledClients holds many connections open in the middle of a request and
// checks that others are served meanwhile.
func TestStalledClients(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	for i := range ipc.MaxConns / 2 {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw := post("/v1/chat/completions", fullChat)
		if _, err := io.WriteString(c, raw[:1+i%(len(raw)-1)]); err != nil {
			t.Fatal(err)
		}
	}
	s.mustServe(t)
}

// TestLargeBody checks that the largest allowed body is read, sent at once or in chunks.
func TestLargeBody(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	const n = ipc.SmallBodyBytes
	a := s.do(t, "POST", "/tokenize", `{"content":"`+strings.Repeat("x", n)+`"}`)
	if a.status != 200 || strings.Count(a.body, "120") != n {
		t.Errorf("got %d and %d bytes", a.status, len(a.body))
	}
	fill := ipc.MaxBodyBytes - len(messages(`{"role":"user","content":""}`))
	long := messages(`{"role":"user","content":"` + strings.Repeat("x", fill) + `"}`)
	want := fmt.Sprintf("the prompt has %d tokens, but the context holds 4096", fill)
	if a := s.do(t, "POST", "/v1/chat/completions", long); a.status != 400 || !strings.Contains(a.body, want) {
		t.Errorf("got %d %.200s", a.status, a.body)
	}
	over := s.do(t, "POST", "/v1/chat/completions", long+" ")
	if want := fmt.Sprintf("the body has %d bytes, but at most %d are accepted", len(long)+1, ipc.MaxBodyBytes); over.status != 413 || !strings.Contains(over.body, want) {
		t.Errorf("got %d %s", over.status, over.body)
	}
}
