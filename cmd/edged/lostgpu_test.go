package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"edged/ipc/api"
	"edged/ipc/client"
)

// faultyGPU is a daemon on a GPU whose kernels can be made to reach for memory that
// is nobody's.
type faultyGPU struct {
	t                   *testing.T
	dir, fault, program string
	env                 []string
	cmd                 *exec.Cmd
	log                 bytes.Buffer
	api                 *client.Client
}

var driverPath = regexp.MustCompile(`libcuda\.so\.1 \(libc6,x86-64.*\) => (\S+)`)

// newFaultyGPU builds a driver that stands before the real one.
func newFaultyGPU(t *testing.T) *faultyGPU {
	t.Helper()
	g := &faultyGPU{t: t, dir: t.TempDir()}
	g.fault = filepath.Join(g.dir, "fault")
	known, err := exec.Command("ldconfig", "-p").Output()
	real := driverPath.FindSubmatch(known)
	if err != nil || real == nil {
		t.Fatalf("the linker knows no libcuda.so.1: %v", err)
	}
	if err := os.Mkdir(filepath.Join(g.dir, "lib"), 0o700); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("cc", "-O1", "-fPIC", "-shared", "-o", filepath.Join(g.dir, "lib", "libcuda.so.1"), "testdata/lostgpu/libcuda.c", "-ldl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if g.program, err = exec.LookPath("edged"); err != nil { // testscript.Main put it there
		t.Fatal(err)
	}
	g.env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(g.dir, "lib"), "EDGED_TEST_CUDA="+string(real[1]), "EDGED_TEST_FAULT="+g.fault,
		"STATE_DIRECTORY="+filepath.Join(g.dir, "state"), "NOTIFY_SOCKET="+filepath.Join(g.dir, "notify"))
	return g
}

// start starts the daemon, with what the one before has stored.
func (g *faultyGPU) start() {
	g.t.Helper()
	model, err := filepath.Abs(needle)
	if err != nil {
		g.t.Fatal(err)
	}
	config, socket := filepath.Join(g.dir, "config.toml"), filepath.Join(g.dir, "edged.sock")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		g.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(g.dir, "notify")) // of the one before
	manager, err := listenAsManager(filepath.Join(g.dir, "notify"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer manager.Close()
	g.cmd = exec.Command(g.program, "serve", "--config", config, "--socket", socket, "--model", model, "--backend", "cuda")
	g.cmd.Env, g.cmd.Stderr = g.env, &g.log
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	if err := waitNotified(manager, "READY=1"); err != nil {
		g.t.Fatal(errors.Join(err, g.cmd.Process.Kill(), g.cmd.Wait()), g.log.String())
	}
	g.api = client.New(socket)
}

// end waits for the daemon and gives its exit status.
func (g *faultyGPU) end() int {
	g.api.Close()
	_ = g.cmd.Wait() // the status says more
	return g.cmd.ProcessState.ExitCode()
}

func (g *faultyGPU) ask(session, text string) (client.Answer, error) {
	zero, most := 0.0, 30
	return g.api.Chat(g.t.Context(), api.ChatRequest{Messages: []api.Message{{Role: "user", Content: text}}, Session: session, Options: api.Options{Temperature: &zero, MaxTokens: &most}}, nil)
}

// TestLostGPU: a GPU that answers no more ends the daemon with an error, so that it is
// started again, and the next one goes on with what sessions hold.
func TestLostGPU(t *testing.T) {
	if os.Getenv("EDGED_REQUIRE_CUDA") != "1" {
		t.Skip("set EDGED_REQUIRE_CUDA=1 where there is an NVIDIA GPU that may be lost")
	}
	text, err := os.ReadFile("../../docs/demo/document.txt")
	if err != nil {
		t.Fatal(err)
	}
	document := string(text[:min(len(text), 12_000)])
	code := regexp.MustCompile(`the access code of (\S+) is (\d+)`).FindStringSubmatch(document)
	if code == nil {
		t.Fatal("the document has no access code")
	}
	question := fmt.Sprintf("What is the access code of %s?", code[1])

	g := newFaultyGPU(t)
	g.start()
	session, err := g.api.CreateSession(t.Context(), api.SessionNew{Title: "lost"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := g.ask(session.ID, document+"\n"+question)
	if err != nil || !strings.Contains(first.Text, code[2]) || !first.Session.Durable {
		t.Fatalf("first turn: %q, %+v, %v", first.Text, first.Session, err)
	}
	if err := os.WriteFile(g.fault, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err := g.ask(session.ID, question); err == nil {
		t.Errorf("a lost GPU answers %q", a.Text)
	} else {
		t.Logf("the caller is told: %v", err)
	}
	status := g.end()
	for line := range strings.Lines(g.log.String()) {
		if strings.Contains(line, "CUDA_ERROR") {
			t.Logf("exit status %d, log: %.300s", status, line)
		}
	}
	if status != exitFailure || !strings.Contains(g.log.String(), "CUDA_ERROR_ILLEGAL_ADDRESS") {
		t.Errorf("exit status %d, want %d and an illegal address in the log:\n%s", status, exitFailure, g.log.String())
	}

	if err := os.Remove(g.fault); err != nil {
		t.Fatal(err)
	}
	g.start()
	second, err := g.ask(session.ID, question)
	if err != nil || !strings.Contains(second.Text, code[2]) {
		t.Errorf("after a restart: %q, %v", second.Text, err)
	}
	cached := second.Usage.PromptTokensDetails.CachedTokens
	t.Logf("after a restart %d of %d tokens were there, answer %q", cached, second.Usage.PromptTokens, second.Text)
	if cached < first.Usage.PromptTokens {
		t.Errorf("%d tokens were kept, the first turn had %d", cached, first.Usage.PromptTokens)
	}
	if err := g.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if status := g.end(); status != 0 {
		t.Errorf("exit status %d in the end\n%s", status, g.log.String())
	}
}
