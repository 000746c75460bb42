package ipc_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// TestExpectContinue checks that a client that asks first is told to go on, or
// is refused before it has sent a large body for nothing.
func TestExpectContinue(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	for _, tt := range []struct {
		length int
		want   []int
	}{
		{len(chatBody), []int{100, 200}},
		{ipc.MaxBodyBytes + 1, []int{413}},
	} {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "+itoa(tt.length)+"\r\n\r\n")
		r := bufio.NewReader(c)
		for _, want := range tt.want {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != want {
				t.Errorf("length %d: got %d, want %d", tt.length, resp.StatusCode, want)
			}
			if want == 100 {
				io.WriteString(c, chatBody)
			}
		}
	}
}

// TestKeptConnection checks that a connection serves requests one after another,
// refusals and streams among them, whatever their host is.
func TestKeptConnection(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for range 3 {
		for _, tt := range []struct {
			body string
			want int
			end  string
		}{
			{chatBody, 200, "}\n"},
			{`{"messages":5}`, 400, "}\n"},
			{streamBody, 200, "data: [DONE]\n\n"},
			{chatWith(`"model":"none"`), 404, "}\n"},
		} {
			io.WriteString(c, strings.Replace(post("/v1/chat/completions", tt.body), "Host: x", "Host: ", 1))
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.want || !strings.HasSuffix(string(body), tt.end) {
				t.Errorf("%s: got %d %s, %v", tt.body, resp.StatusCode, body, err)
			}
		}
	}
}
