package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine is one on which nothing is wrong, with the files of a root folder.
func machine(t *testing.T, files map[string]string) Machine {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{
		Root: root, Config: root, Models: []string{root}, Backend: "cpu", CPU: []string{"avx2"}, Socket: "s",
		GPU:       func() GPU { return GPU{Driver: "550.1", CUDA: 12040, Devices: []string{"RTX with 24.0 GiB"}} },
		Available: func() (int64, int64, error) { return 8 << 30, 16 << 30, nil },
		LockLimit: func() (int64, bool, error) { return 8 << 20, true, nil },
		Pressure:  func() (float64, bool, error) { return 0, true, nil },
		Ask:       func(context.Context) (string, string, error) { return "ready", "m", nil },
	}
}

var gpuFiles = map[string]string{"dev/nvidia0": "", "dev/nvidia-uvm": "", "sys/bus/pci/devices/0/vendor": "0x10de\n", "proc/driver/nvidia/params": "PreserveVideoMemoryAllocations: 1\n"}

func TestGPU(t *testing.T) {
	without := func(gone ...string) map[string]string {
		files := map[string]string{}
		for path, text := range gpuFiles {
			files[path] = text
		}
		for _, g := range gone {
			delete(files, g)
		}
		return files
	}
	for _, c := range []struct {
		name   string
		files  map[string]string
		change func(*Machine)
		level  Level
		text   string
	}{
		{"works", gpuFiles, nil, OK, "RTX with 24.0 GiB; driver 550.1 for CUDA 12.4"},
		{"not asked for", gpuFiles, func(m *Machine) { m.Backend = "cpu" }, Note, "1 NVIDIA devices are here"},
		{"none and not asked for", nil, func(m *Machine) { m.Backend = "cpu" }, OK, "not asked for"},
		{"none", nil, nil, Problem, "this machine has no NVIDIA device"},
		{"WSL", map[string]string{"dev/dxg": ""}, nil, Problem, "this is WSL"},
		{"no module", without("dev/nvidia0", "proc/driver/nvidia/params"), nil, Problem, "kernel module is not loaded"},
		{"no node", without("dev/nvidia0"), nil, Problem, "/dev/nvidia0 is not there"},
		{"no uvm", without("dev/nvidia-uvm"), nil, Problem, "/dev/nvidia-uvm is not there"},
		{"no library", gpuFiles, func(m *Machine) { m.GPU = func() GPU { return GPU{Missing: []string{"libcuda.so.1: not found"}} } }, Problem, "libcuda.so.1"},
		{"hidden", gpuFiles, func(m *Machine) {
			m.GPU = func() GPU { return GPU{CUDA: 12040, Missing: []string{"the CUDA driver sees no device"}} }
		}, Problem, "sees no device"},
	} {
		m := machine(t, c.files)
		m.Backend = "cuda"
		if c.change != nil {
			c.change(&m)
		}
		got := gpu(t.Context(), m)[0]
		if got.Level != c.level || !strings.Contains(got.Text, c.text) || (got.Fix == "") != (c.level == OK) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	m := machine(t, without("proc/driver/nvidia/params"))
	m.Backend = "cuda"
	if err := os.MkdirAll(filepath.Join(m.Root, "proc/driver/nvidia"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Root, "proc/driver/nvidia/params"), []byte("PreserveVideoMemoryAllocations: 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := gpu(t.Context(), m); len(got) != 2 || got[1].Check != "gpu-suspend" || got[1].Level != Note {
		t.Errorf("a driver that loses its memory: %+v", got)
	}
}

func TestChecks(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	private := filepath.Join(t.TempDir(), "private")
	if err := errors.Join(os.Mkdir(open, 0o755), os.Mkdir(private, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		files  map[string]string
		change func(*Machine)
		check  func(context.Context, Machine) []Finding
		level  Level
		text   string
	}{
		{"config", nil, func(m *Machine) { m.ConfigErr = errors.New("c.toml:3: unknown key") }, config, Problem, "c.toml:3"},
		{"no config", nil, func(m *Machine) { m.Config += "/none" }, config, Note, "does not exist"},
		{"no model", nil, func(m *Machine) {
			m.Models = nil
			m.Ask = func(context.Context) (string, string, error) { return "", "", fs.ErrNotExist }
		}, models, Problem, "no model is configured"},
		{"no model but of the command line", nil, func(m *Machine) { m.Models = nil }, models, Note, "was started with one"},
		{"model gone", nil, func(m *Machine) { m.Models = []string{m.Root + "/none.gguf"} }, models, Problem, "none.gguf"},
		{"old processor", nil, func(m *Machine) { m.CPU = []string{"generic"} }, processor, Warning, "no vector"},
		{"memory", nil, nil, memory, OK, "8.0 GiB of 16.0 GiB"},
		{"too much memory", nil, func(m *Machine) { m.HostMemory = 9 << 30 }, memory, Problem, "engine.host_memory is 9.0 GiB"},
		{"lock", nil, nil, locked, OK, "8.0 MiB may be locked"},
		{"lock asked for", nil, func(m *Machine) { m.LockMemory = true }, locked, Problem, "only 8.0 MiB"},
		{"huge pages", map[string]string{"sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n"}, nil, hugePages, OK, "madvise"},
		{"huge pages off", map[string]string{"sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n"}, nil, hugePages, Warning, "off"},
		{"swap", map[string]string{"proc/swaps": "Filename Type Size\n/dev/sda2 partition 1\n"}, nil, swap, Note, "1 places"},
		{"swap and lock", map[string]string{"proc/swaps": "Filename Type Size\n/dev/sda2 partition 1\n"}, func(m *Machine) { m.LockMemory = true }, swap, OK, ""},
		{"store open to others", nil, func(m *Machine) { m.StoreDir = open }, storeFolder, Problem, "mode 0755"},
		{"store to be made", nil, func(m *Machine) { m.StoreDir = open + "/none" }, storeFolder, OK, "will be made"},
		{"store without its index", nil, func(m *Machine) { m.StoreDir, m.StoreErr = private, errors.New("index is lost") }, storeFolder, Problem, "index is lost"},
		{"store on tmpfs", nil, func(m *Machine) { m.StoreDir = "/dev/shm/edged-none" }, disk, Warning, "tmpfs"},
		{"socket", nil, nil, socket, OK, "answers on s"},
		{"failed daemon", nil, func(m *Machine) {
			m.Ask = func(context.Context) (string, string, error) { return "failed", "no device", nil }
		}, socket, Problem, "no device"},
		{"stranger", nil, func(m *Machine) {
			m.Ask = func(context.Context) (string, string, error) { return "", "", fmt.Errorf("dial: %w", fs.ErrPermission) }
		}, socket, Problem, "permission"},
		{"SELinux", map[string]string{"sys/fs/selinux/enforce": "1"}, nil, security, Note, "SELinux enforces"},
		{"AppArmor", map[string]string{"proc/self/attr/apparmor/current": "docker-default (enforce)\n"}, nil, security, Note, "docker-default"},
		{"unconfined", map[string]string{"proc/self/attr/apparmor/current": "unconfined\n"}, nil, security, OK, "neither"},
		{"few watchers", map[string]string{"proc/sys/fs/inotify/max_user_instances": "8\n"}, nil, inotify, Warning, "8 watchers"},
		{"no inotify", nil, nil, inotify, Warning, "no inotify"},
	} {
		m := machine(t, c.files)
		if c.change != nil {
			c.change(&m)
		}
		got := c.check(t.Context(), m)
		if len(got) != 1 || got[0].Level != c.level || !strings.Contains(got[0].Text, c.text) {
			t.Errorf("%s: %+v", c.name, got)
			continue
		}
		if got[0].Level == Problem && got[0].Fix == "" {
			t.Errorf("%s: a problem without a fix", c.name)
		}
	}
}

func TestExamineSaysTheWorst(t *testing.T) {
	m := machine(t, map[string]string{"proc/sys/fs/inotify/max_user_instances": "8\n"})
	if got := Worst(Examine(t.Context(), m)); got != Warning {
		t.Errorf("worst is %s", got)
	}
	m.ConfigErr = errors.New("bad")
	if got := Worst(Examine(t.Context(), m)); got != Problem {
		t.Errorf("worst is %s", got)
	}
}
