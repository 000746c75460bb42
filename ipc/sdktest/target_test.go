package sdktest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// target is what the SDKs talk to.
type target struct {
	socket, model string
	engine        *ipctest.Engine // nil when the daemon is not ours
}

func newTarget(t *testing.T) target {
	t.Helper()
	socket, model := os.Getenv("EDGED_SOCKET"), os.Getenv("EDGED_MODEL")
	if (socket == "") != (model == "") {
		t.Fatal("EDGED_SOCKET and EDGED_MODEL belong together; only one is set")
	}
	if socket != "" {
		return target{socket: socket, model: model}
	}
	engine := ipctest.New()
	// Several keepalives before each piece: no SDK may stumble over them.
	engine.Pause = 5 * time.Millisecond
	engine.Store = &ipctest.Sessions{}
	socket = ipctest.Serve(t, engine, ipc.Options{KeepAlive: time.Millisecond, Sessions: engine.Store})
	return target{socket: socket, model: engine.List[0].ID, engine: engine}
}

// mustHaveCancelled waits until the engine has seen n generations end early. A
// client does not wait for that, so that it may come later than its next answer.
func (g target) mustHaveCancelled(t *testing.T, n int) {
	t.Helper()
	if g.engine == nil {
		return
	}
	timeout := time.After(30 * time.Second)
	for i := range n {
		select {
		case <-g.engine.Cancelled():
		case <-timeout:
			t.Fatalf("%d generations were cancelled, want %d", i, n)
		}
	}
}

// runScripted is runSDK for programs that need the scripted engine.
func runScripted(t *testing.T, name string, args ...string) {
	t.Helper()
	if os.Getenv("EDGED_SOCKET") != "" {
		t.Skip("the program knows what the scripted engine answers")
	}
	runSDK(t, 0, name, args...)
}

// runSDK runs a program of another language with the target in its environment.
// The program cancels so many generations.
func runSDK(t *testing.T, cancels int, name string, args ...string) {
	t.Helper()
	if os.Getenv("EDGED_SDK_TESTS") != "1" {
		t.Skip("set EDGED_SDK_TESTS=1 and EDGED_SDK_DIR to run the Python and Node SDKs; see setup.sh")
	}
	g := newTarget(t)
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "EDGED_SOCKET="+g.socket, "EDGED_MODEL="+g.model, "PYTHONDONTWRITEBYTECODE=1")
	if g.engine != nil {
		cmd.Env = append(cmd.Env, "EDGED_SCRIPTED=1")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	g.mustHaveCancelled(t, cancels)
}

// sdkDir is where setup.sh has installed the SDKs.
func sdkDir(elem ...string) string {
	return filepath.Join(append([]string{os.Getenv("EDGED_SDK_DIR")}, elem...)...)
}

func TestPython(t *testing.T) {
	runSDK(t, 3, sdkDir("python", "bin", "python"), filepath.Join("python", "check.py"))
}

func TestPythonTools(t *testing.T) {
	runScripted(t, sdkDir("python", "bin", "python"), filepath.Join("python", "check_tools.py"))
}

func TestPythonResponses(t *testing.T) {
	runSDK(t, 3, sdkDir("python", "bin", "python"), filepath.Join("python", "check_responses.py"))
}

func TestPythonAnthropic(t *testing.T) {
	runSDK(t, 3, sdkDir("python", "bin", "python"), filepath.Join("python", "check_anthropic.py"))
}

func TestPythonThoughts(t *testing.T) {
	runScripted(t, sdkDir("python", "bin", "python"), filepath.Join("python", "check_thoughts.py"))
}

func TestNode(t *testing.T) {
	if os.Getenv("EDGED_SDK_TESTS") == "1" {
		// Node looks for packages beside the program.
		data, err := os.ReadFile(filepath.Join("node", "check.mjs"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(sdkDir("node", "check.mjs"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runSDK(t, 3, "node", sdkDir("node", "check.mjs"))
}
