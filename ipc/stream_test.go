package ipc_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edged/ipc"
	"edged/ipc/ipctest"
)

const streamBody = `{"stream":true,"messages":[{"role":"user","content":"x"}]}`

// openStream sends body and returns the response once its headers are there.
func (s *served) openStream(t *testing.T, ctx context.Context, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", "http://localhost/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// generating is an engine that does only this.
func generating(f func(ctx context.Context, emit func(ipc.Delta) error) error) *ipctest.Engine {
	return scripted(func(e *ipctest.Engine) {
		e.GenerateFunc = func(ctx context.Context, _ *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
			err := f(ctx, emit)
			return ipc.Result{FinishReason: ipc.FinishStop}, err
		}
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestKeepAlive has a prefill of 65 s that tells nothing about its progress.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servePipe(t, generating(func(ctx context.Context, emit func(ipc.Delta) error) error {
			return errors.Join(emit(ipc.Delta{Progress: &ipc.Progress{Total: 9}}), sleep(ctx, 35*time.Second),
				emit(ipc.Delta{Text: "a"}), sleep(ctx, 15*time.Second), emit(ipc.Delta{Text: "b"}))
		}))
		start := time.Now()
		resp := s.openStream(t, t.Context(), streamBody)
		if d := time.Since(start); d != 0 {
			t.Errorf("the headers came after %s, not at once", d)
		}
		type line struct {
			at   time.Duration
			text string
		}
		var got []line
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			text := sc.Text()
			if i := strings.Index(text, `"choices"`); i > 0 {
				text = text[i:]
			}
			got = append(got, line{time.Since(start), text})
		}
		want := []line{
			{0, `"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`}, {0, ""},
			{10 * time.Second, ": keepalive"}, {10 * time.Second, ""},
			{20 * time.Second, ": keepalive"}, {20 * time.Second, ""},
			{30 * time.Second, ": keepalive"}, {30 * time.Second, ""},
			{35 * time.Second, `"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`}, {35 * time.Second, ""},
			{45 * time.Second, ": keepalive"}, {45 * time.Second, ""},
			{50 * time.Second, `"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null}]}`}, {50 * time.Second, ""},
			{50 * time.Second, `"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`}, {50 * time.Second, ""},
			{50 * time.Second, "data: [DONE]"}, {50 * time.Second, ""},
		}
		if len(got) != len(want) {
			t.Fatalf("got %d lines, want %d: %v", len(got), len(want), got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("line %d: got %v, want %v", i, got[i], want[i])
			}
		}
	})
}

// TestSilentEngine checks that the headers do not wait for an engine that does
// not even say that it accepts the request.
func TestSilentEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servePipe(t, generating(func(ctx context.Context, _ func(ipc.Delta) error) error {
			if err := sleep(ctx, time.Hour); err != nil {
				return err
			}
			return &ipc.Error{Kind: ipc.KindInvalidRequest, Message: "too late for a status"}
		}))
		start := time.Now()
		resp := s.openStream(t, t.Context(), streamBody)
		if d := time.Since(start); d != ipc.HeaderGrace {
			t.Errorf("the headers came after %s, want %s", d, ipc.HeaderGrace)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		end := ": keepalive\n\n" + `data: {"error":{"message":"too late for a status","type":"invalid_request_error","param":null,"code":null}}` + "\n\n"
		if !strings.HasSuffix(string(body), end) {
			t.Errorf("the stream ends with %q", body[max(0, len(body)-200):])
		}
		if n := strings.Count(string(body), ": keepalive\n\n"); n < 358 || n > 360 {
			t.Errorf("%d keepalives in an hour", n)
		}
	})
}

// TestDisconnect checks that the engine's context ends when the client hangs
// up, streaming or not, on a real socket.
func TestDisconnect(t *testing.T) {
	for _, stream := range []string{`"stream":true`, `"stream":false`} {
		cause := make(chan error, 1)
		running := make(chan struct{})
		s := serveSocket(t, generating(func(ctx context.Context, emit func(ipc.Delta) error) error {
			if err := emit(ipc.Delta{Text: "a"}); err != nil {
				return err
			}
			close(running)
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		}))
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		body := chatWith(stream)
		if _, err := io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body); err != nil {
			t.Fatal(err)
		}
		<-running
		c.Close()
		if err := <-cause; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the cause is %v", stream, err)
		}
	}
}

// TestUnreadStream checks that an engine that is faster than its client is
// stopped at the limit of the queue and never blocked.
func TestUnreadStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("x", 1<<16)
		var sent int
		var emitErr error
		var took time.Duration
		s := servePipe(t, generating(func(_ context.Context, emit func(ipc.Delta) error) error {
			start := time.Now()
			for emitErr == nil {
				if emitErr = emit(ipc.Delta{Text: text}); emitErr == nil {
					sent += len(text)
				}
			}
			took = time.Since(start)
			return emitErr
		}))
		c := s.rawStream(t)
		synctest.Wait() // the server now waits for the client
		if !errors.Is(emitErr, ipc.ErrSlowClient) {
			t.Errorf("emit failed with %v", emitErr)
		}
		if took != 0 {
			t.Errorf("emit blocked the engine for %s", took)
		}
		// What the server had already taken out of the queue comes on top.
		if sent < ipc.MaxUnread-len(text)*2 || sent > 2*ipc.MaxUnread {
			t.Errorf("%d bytes were taken with a limit of %d", sent, ipc.MaxUnread)
		}
		rest, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if want := `"code":"client_too_slow"`; !strings.Contains(string(rest[len(rest)-300:]), want) {
			t.Errorf("the stream ends with %q", rest[len(rest)-300:])
		}
	})
}

// TestStalledReader checks that a client that stops reading is given up after
// the write timeout, and that its generation ends.
func TestStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Duration
		start := time.Now()
		s := servePipe(t, generating(func(ctx context.Context, emit func(ipc.Delta) error) error {
			for {
				if err := errors.Join(emit(ipc.Delta{Text: "x"}), sleep(ctx, time.Second)); err != nil {
					ended = time.Since(start)
					return err
				}
			}
		}))
		s.rawStream(t)
		time.Sleep(2 * ipc.WriteTimeout)
		synctest.Wait()
		if ended != ipc.WriteTimeout {
			t.Errorf("the generation ended after %s, want %s", ended, ipc.WriteTimeout)
		}
	})
}

// rawStream asks for a stream on a connection that nobody reads.
func (s *served) rawStream(t *testing.T) net.Conn {
	t.Helper()
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "+itoa(len(streamBody))+"\r\n\r\n"+streamBody)
	return c
}

// TestDrain checks that a drain lets an answer finish that does so in time, cuts
// off the one that does not with an error event, and refuses new connections.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := generating(func(ctx context.Context, emit func(ipc.Delta) error) error {
			return errors.Join(emit(ipc.Delta{Text: "a"}), sleep(ctx, 20*time.Second), emit(ipc.Delta{Text: "b"}))
		})
		for _, tt := range []struct {
			patience time.Duration
			took     time.Duration
			wantErr  error
			end      string
		}{
			{30 * time.Second, 20 * time.Second, nil, "data: [DONE]\n\n"},
			{5 * time.Second, 5 * time.Second, context.DeadlineExceeded,
				`data: {"error":{"message":"The daemon is stopping; the answer was cut off","type":"unavailable_error","param":null,"code":"draining"}}` + "\n\n"},
		} {
			s := servePipe(t, engine)
			resp := s.openStream(t, t.Context(), streamBody)
			read := make(chan string)
			go func() {
				body, _ := io.ReadAll(resp.Body)
				read <- string(body)
			}()
			ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
			defer cancel()
			start := time.Now()
			drained := make(chan error)
			go func() { drained <- s.Shutdown(ctx) }()
			synctest.Wait()
			if _, err := s.dial(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a new connection during the drain: %v", err)
			}
			body := <-read
			// net/http looks for the end of answers only every 0.5 s.
			if d := time.Since(start); d != tt.took {
				t.Errorf("the answer ended after %s, want %s", d, tt.took)
			}
			if err := <-drained; !errors.Is(err, tt.wantErr) || (err == nil) != (tt.wantErr == nil) {
				t.Errorf("Shutdown returned %v, want %v", err, tt.wantErr)
			}
			if !strings.HasSuffix(body, tt.end) {
				t.Errorf("the stream ends with %q", body[max(0, len(body)-300):])
			}
		}
	})
}

// TestDrainWithoutStream checks the status of an answer that is cut off before it began.
func TestDrainWithoutStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servePipe(t, generating(func(ctx context.Context, _ func(ipc.Delta) error) error {
			return sleep(ctx, time.Hour)
		}))
		got := make(chan answer)
		go func() { got <- s.do(t, "POST", "/v1/chat/completions", chatBody) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v", err)
		}
		if a := <-got; a.status != 503 || !strings.Contains(a.body, `"code":"draining"`) {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}

// TestSlowSenders checks the time limits for headers and bodies, and that a long
// generation is not touched by them.
func TestSlowSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servePipe(t, generating(func(ctx context.Context, _ func(ipc.Delta) error) error {
			return sleep(ctx, 10*time.Hour)
		}))
		for _, tt := range []struct {
			name, send string
			after      time.Duration
			want       string
		}{
			{"header", "POST /v1/chat/comp", ipc.HeaderTimeout, ""},
			{"nothing", "", ipc.HeaderTimeout, ""},
			{"body", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", ipc.BodyTimeout,
				"the body did not arrive within 30s; got 1 bytes"},
			{"unread body", "GET /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", ipc.LingerTimeout, `"object":"list"`},
			{"truncated chunk", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", ipc.BodyTimeout,
				"the body did not arrive within 30s; got 1 bytes"},
		} {
			c, err := s.dial()
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			go io.WriteString(c, tt.send)
			body, _ := io.ReadAll(c)
			// net/http may wait half a second for the client to close first.
			if d := time.Since(start); d < tt.after || d > tt.after+time.Second {
				t.Errorf("%s: closed after %s, want %s", tt.name, d, tt.after)
			}
			if !strings.Contains(string(body), tt.want) {
				t.Errorf("%s: got %q", tt.name, body)
			}
			c.Close()
		}
		if a := s.do(t, "POST", "/v1/chat/completions", chatBody); a.status != 200 {
			t.Errorf("an answer of ten hours: %d %s", a.status, a.body)
		}
	})
}
