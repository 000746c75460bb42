package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// relay lets programs that know URLs only reach a socket: what systemd-socket-proxyd
// or socat would do. It returns the address.
func relay(t *testing.T, socket string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("accept: %v", err)
				}
				return
			}
			go pipe(in, socket)
		}
	}()
	return l.Addr().String()
}

// pipe joins a connection with one to the socket until one of them ends.
func pipe(in net.Conn, socket string) {
	defer in.Close()
	out, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer out.Close()
	done := make(chan struct{}, 2)
	join := func(to io.Writer, from io.Reader) {
		io.Copy(to, from) // ends with the connection, which its other end knows
		done <- struct{}{}
	}
	go join(out, in)
	go join(in, out)
	<-done
}

// TestLLMEmbeds makes vectors with llm, which knows OpenAI's models of that kind only:
// a model that has such a name here.
func TestLLMEmbeds(t *testing.T) {
	if os.Getenv("EDGED_SDK_TESTS") != "1" || os.Getenv("EDGED_SOCKET") != "" {
		t.Skip("set EDGED_SDK_TESTS=1 and EDGED_SDK_DIR to run llm; see setup.sh")
	}
	engine := ipctest.New()
	engine.List[0].ID = "text-embedding-3-small"
	socket := ipctest.Serve(t, engine, ipc.Options{})
	cmd := exec.CommandContext(t.Context(), sdkDir("python", "bin", "llm"), "embed", "-m", "3-small", "-f", "json", "-c", "four")
	cmd.Env = append(os.Environ(), "LLM_USER_PATH="+t.TempDir(), "OPENAI_API_KEY=-", "OPENAI_BASE_URL=http://"+relay(t, socket)+"/v1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []float32
	if err := json.Unmarshal(out, &got); err != nil || !slices.Equal(got, ipctest.Vector(4)) {
		t.Errorf("got %s, %v; want %v", out, err, ipctest.Vector(4))
	}
}

// TestLLM asks through llm, the command of the Python index: whole, as a stream,
// with a schema, and in a conversation.
func TestLLM(t *testing.T) {
	if os.Getenv("EDGED_SDK_TESTS") != "1" {
		t.Skip("set EDGED_SDK_TESTS=1 and EDGED_SDK_DIR to run llm; see setup.sh")
	}
	g := newTarget(t)
	home := t.TempDir()
	config := fmt.Sprintf("- model_id: edged\n  model_name: %s\n  api_base: http://%s/v1\n  supports_schema: true\n", g.model, relay(t, g.socket))
	if err := os.WriteFile(filepath.Join(home, "extra-openai-models.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, sdkDir("python", "bin", "llm"), args...)
		cmd.Env = append(os.Environ(), "LLM_USER_PATH="+home, "OPENAI_API_KEY=-")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("llm %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	ask := []string{"-m", "edged", "-o", "temperature", "0", "-o", "max_tokens", "24", question}
	stream := run(ask...)
	if whole := run(append([]string{"--no-stream"}, ask...)...); stream == "" || whole != stream {
		t.Errorf("the stream is %q, the whole answer %q", stream, whole)
	}
	if answer := run("-c", "And again?", "-o", "max_tokens", "8"); answer == "" {
		t.Error("no answer in a conversation")
	}
	if g.engine == nil {
		return
	}
	run("-m", "edged", "--schema", "name, age int", "A dog.")
	requests := g.engine.Requests()
	if n := len(requests[2].Messages); n != 3 {
		t.Errorf("the conversation went on with %d messages, want 3", n)
	}
	if last := requests[len(requests)-1]; last.Grammar == nil || last.Grammar.Schema == nil {
		t.Errorf("the schema did not arrive: %+v", last)
	}
}
