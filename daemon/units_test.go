package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unit copies a unit file with a program that exists in place of an installed one.
func unit(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	if strings.HasSuffix(file, ".socket") { // it starts the service
		copyUnit(t, filepath.Join(filepath.Dir(file), "edged.service"), dir)
	}
	return copyUnit(t, file, dir)
}

func copyUnit(t *testing.T, file, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "systemd", file))
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(dir, filepath.Base(file)), strings.ReplaceAll(string(b), "/usr/bin/edged", "/bin/true"))
}

func analyze(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze %v: %v", args, err)
	}
	return string(out)
}

func TestUnitsAreValid(t *testing.T) {
	for _, tc := range []struct {
		file string
		args []string
	}{
		{"edged.service", []string{"verify", "--man=no"}},
		{"user/edged.service", []string{"verify", "--man=no", "--user"}},
		{"edged.socket", []string{"verify", "--man=no"}},
		{"edged-tcp.socket", []string{"verify", "--man=no"}},
		{"user/edged.socket", []string{"verify", "--man=no", "--user"}},
	} {
		t.Run(tc.file, func(t *testing.T) {
			out := analyze(t, append(tc.args, unit(t, tc.file))...)
			for line := range strings.Lines(out) {
				// What the unit says about versions before 253.
				if !strings.HasSuffix(line, "Failed to parse service type, ignoring: notify-reload\n") {
					t.Errorf("complaint: %s", line)
				}
			}
		})
	}
}

// systemd rates what a service could do from 0 (nothing) to 100; tenths are shown.
// The unit says why it has each thing that it has.
func TestSystemUnitIsHardened(t *testing.T) {
	out := analyze(t, "security", "--offline=yes", "--threshold=10", unit(t, "edged.service"))
	if t.Failed() {
		t.Log(out)
	}
}

// A version of systemd that does not know Type=notify-reload must stay with the
// line before it.
func TestServiceTypes(t *testing.T) {
	for _, file := range []string{"edged.service", "user/edged.service"} {
		b, err := os.ReadFile(filepath.Join("..", "systemd", file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "\nType=notify\nType=notify-reload\n") {
			t.Errorf("%s does not name both types in this order", file)
		}
	}
}
