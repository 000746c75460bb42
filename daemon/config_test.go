package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfig(t *testing.T) {
	got, err := ParseConfig("edged.toml", []byte(`
default_model = "b"
allow_switch = false
[socket]
path = "/tmp/x.sock"
mode = "0660"
allow_uids = [1000, 1001]
keepalive = "5s"
[engine]
threads = 2
host_memory = "1.5GiB"
gpu_reserve = "2GiB"
[[model]]
name = "a"
[[model]]
name = "b"
path = "b.gguf"
context = 4096
policy = "full"
[store]
enabled = false
dir = "/srv/s"
budget = "1GiB"
key_credential = "edged-key"
[sampling]
temperature = 0
[log]
level = "debug"
[stop]
drain = "1m"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.DefaultModel, want.AllowSwitch = "b", false
	want.Socket = Socket{Path: "/tmp/x.sock", Mode: FileMode{0o660}, AllowUIDs: []uint32{1000, 1001}, KeepAlive: Duration{5 * time.Second}}
	want.Engine.Threads, want.Engine.HostMemory, want.Engine.GPUReserve = 2, 3<<29, 2<<30
	want.Models = []Model{{Name: "a"}, {Name: "b", Path: "b.gguf", Context: 4096, Policy: "full"}}
	want.Store = Store{Dir: "/srv/s", Budget: 1 << 30, KeyCredential: "edged-key", Checkpoint: Duration{30 * time.Second}}
	want.Sampling.Temperature = 0
	want.Log.Level.Level = levels["debug"]
	want.Stop.Drain = Duration{time.Minute}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEmptyConfigIsTheDefault(t *testing.T) {
	got, err := ParseConfig("edged.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(DefaultConfig(), got); d != "" {
		t.Error(d)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, tc := range []struct{ name, doc, want string }{
		{"unknown key", "[engine]\nthread = 2\n", "c.toml:2: unknown key engine.thread: thread = 2"},
		{"unknown table", "\n[enginee]\nthreads = 2\n", "c.toml:2: unknown key enginee: [enginee]"},
		{"two unknown keys", "x = 1\ny = 2\n", "c.toml:1: unknown key x: x = 1\nc.toml:2: unknown key y: y = 2"},
		{"syntax", "[engine\n", "c.toml:1: expected ']' to close table name: [engine"},
		{"duplicate", "[log]\nlevel='info'\nlevel='info'\n", "c.toml:3: level: key level is already defined: level='info'"},
		{"wrong type", "[engine]\nthreads = \"two\"\n", "c.toml:2: engine.threads: got a TOML string, expected an integer: threads = \"two\""},
		{"bare number as duration", "[stop]\ndrain = 30\n", `c.toml:2: drain = 30: "30" is not a duration such as "30s" or "1m30s"`},
		{"bare number as mode", "# a\n\n[log]\nlevel = \"info\"\n[socket]\nmode = 900\n[stop]\n", `c.toml:6: mode = 900: "900" is not a file mode between "0000" and "0777"`},
		{"table as duration", "[stop.drain]\nx = 1\n", "c.toml:2: unknown key stop.drain.x: x = 1"},
		{"list as level", "[log]\nlevel = [1]\n", `c.toml:2: log.level: got a TOML array, expected debug, info, warn or error: level = [1]`},
		{"bad duration", "[stop]\ndrain = \"soon\"\n", `c.toml:2: stop.drain: "soon" is not a duration such as "30s" or "1m30s": drain = "soon"`},
		{"bad mode", "[socket]\nmode = \"0999\"\n", `c.toml:2: socket.mode: "0999" is not a file mode between "0000" and "0777": mode = "0999"`},
		{"bad level", "[log]\nlevel = \"loud\"\n", `c.toml:2: log.level: "loud" is not a log level; known: debug, info, warn, error: level = "loud"`},
		{"part of a byte", "[engine]\nhost_memory = 12.5\n", `c.toml:2: host_memory = 12.5: "12.5" is no whole number of bytes; with a unit it is a size, such as "12.5GiB"`},
		{"bad size", "[engine]\nhost_memory = \"much\"\n", `c.toml:2: engine.host_memory: "much" is not a size such as "512MiB", "8GiB" or "8589934592": host_memory = "much"`},
		{"negative size", "\n[engine]\nhost_memory = -1\n", "c.toml:3: engine.host_memory must not be negative, got -1"},
		{"negative reserve", "\n[engine]\ngpu_reserve = -1\n", "c.toml:3: engine.gpu_reserve must not be negative, got -1"},
		{"range", "[engine]\nthreads = 5000\n", "c.toml:2: engine.threads must be between 0 and 256, got 5000"},
		{"all ranges at once", "[engine]\nchunk = 0\nqueue = 0\n", "c.toml:2: engine.chunk must be between 1 and 8192, got 0\nc.toml:3: engine.queue must be between 1 and 100000, got 0"},
		{"errors of all kinds", "[engine]\nthreads = 999\nfoo = 1\nchunk = \"b\"\nqueue = \"c\"\n[store]\nbudget = \"x\"\n[[model]]\nname = 1\n", "c.toml:2: engine.threads must be between 0 and 256, got 999\nc.toml:3: unknown key engine.foo: foo = 1\n" +
			"c.toml:4: engine.chunk: got a TOML string, expected an integer: chunk = \"b\"\nc.toml:5: engine.queue: got a TOML string, expected an integer: queue = \"c\"\n" +
			"c.toml:7: store.budget: \"x\" is not a size such as \"512MiB\", \"8GiB\" or \"8589934592\": budget = \"x\"\nc.toml:9: model.name: got a TOML integer, expected a string: name = 1"},
		{"no value and no position", "[stop]\ndrain = 30\n[engine]\nthreads = 999\n", "c.toml:2: drain = 30: \"30\" is not a duration such as \"30s\" or \"1m30s\"\nc.toml:4: engine.threads must be between 0 and 256, got 999"},
		{"value over lines", "[socket]\nallow_uids = [1,\n\"x\",\n2]\n", "c.toml:3: socket.allow_uids: got a TOML string, expected a user id: \"x\","},
		{"dotted key", "engine.chunk = 0\n", "c.toml:1: engine.chunk must be between 1 and 8192, got 0"},
		{"inline table", "a = 0\n", "c.toml:1: unknown key a: a = 0"},
		{"value in inline table", "\nengine = {chunk = 0}\n", "c.toml:2: engine.chunk must be between 1 and 8192, got 0"},
		{"NaN", "[sampling]\ntemperature = nan\n", "c.toml:2: sampling.temperature must be between 0 and 2, got NaN"},
		{"backend", "[engine]\nbackend = \"tpu\"\n", `c.toml:2: engine.backend must be one of cpu, cuda, ref, got "tpu"`},
		{"mode without owner", "[socket]\nmode = \"0060\"\n", "c.toml:2: socket.mode must let the owner read and write (0600), got 0060"},
		{"second model", "[[model]]\nname = \"a\"\n[[model]]\nname = \"b\"\ncontext = 3\n", "c.toml:5: model[1].context must be between 16 and 16777216, got 3"},
		{"model without name", "[[model]]\npath = \"a.gguf\"\n", `c.toml:1: model[0].name must have 1 to 128 letters, digits or . _ : / - and begin with a letter or digit, got ""`},
		{"model twice", "[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"\n", `c.toml:4: model[1].name is "a" like that of model[0]; names must differ`},
		{"policy", "[[model]]\nname = \"a\"\npolicy = \"x\"\n", `c.toml:3: model[0].policy cannot be used: find cache policy: "x" is not known; known: auto, full, q4, q8, tailorkv, and compositions such as auto+q4`},
		{"default model", "default_model = \"z\"\n[[model]]\nname = \"a\"\n", `c.toml:1: default_model must be the name of a [[model]], got "z"; known: a`},
		{"negative budget", "[store]\nbudget = -1\n", "c.toml:2: store.budget must not be negative, got -1"},
		{"checkpoint", "[store]\ncheckpoint = \"0s\"\n", "c.toml:2: store.checkpoint must be between 1s and 24h0m0s, got 0s"},
		{"credential", "[store]\nkey_credential = \"../key\"\n", `c.toml:2: store.key_credential must be the name of a credential: 1 to 255 letters, digits or . _ -, not beginning with a dot, got "../key"`},
		{"not UTF-8", "a = \"\xff\"\n", "c.toml:1: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig("c.toml", []byte(tc.doc))
			if err == nil {
				t.Fatal("no error")
			}
			if tc.name == "not UTF-8" { // the text is the library's
				if !strings.HasPrefix(err.Error(), tc.want) {
					t.Errorf("got %q, want prefix %q", err, tc.want)
				}
				return
			}
			if d := cmp.Diff(tc.want, err.Error()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestErrorsOfAnotherFile: what is no configuration is refused in a few short lines,
// which go to logs, status lines and clients, without its control characters.
func TestErrorsOfAnotherFile(t *testing.T) {
	for name, doc := range map[string]string{
		"binary":     strings.Repeat("\xff\x00\x1b[31m", 10_000),
		"long key":   strings.Repeat("k", 100_000) + " = 1\n",
		"long value": "[log]\nlevel = \"" + strings.Repeat("v", 100_000) + "\"\n",
		"long name":  "default_model = \"" + strings.Repeat("n", 100_000) + "\"\n",
		"long table": "[" + strings.Repeat("t.", 10_000) + "t]\nx = 1\n",
		"many keys":  manyKeys(5000),
	} {
		_, err := ParseConfig("c.toml", []byte(doc))
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) > 21 {
			t.Errorf("%s: %d lines", name, len(lines))
		}
		for _, l := range lines {
			if len(l) > 2000 || strings.ContainsAny(l, "\x00\x1b") {
				t.Errorf("%s: a line of %d bytes: %.100q", name, len(l), l)
			}
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d = 1\n", i)
	}
	return b.String()
}

// Every key must be documented, and reading the documentation's example must
// give exactly the defaults.
func TestConfigDocumentation(t *testing.T) {
	doc, err := os.ReadFile("../docs/CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range allKeys() {
		if !strings.Contains(string(doc), "`"+key+"`") {
			t.Errorf("docs/CONFIG.md does not mention `%s`", key)
		}
	}
	_, rest, ok := strings.Cut(string(doc), "```toml\n")
	example, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("docs/CONFIG.md has no toml block")
	}
	got, err := ParseConfig("CONFIG.md", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(DefaultConfig(), got); d != "" {
		t.Errorf("the example is not the default configuration:\n%s", d)
	}
}

func TestDefaultPaths(t *testing.T) {
	env := func(kv ...string) func(string) string {
		return func(k string) string {
			if i := slices.Index(kv, k); i >= 0 {
				return kv[i+1]
			}
			return ""
		}
	}
	for _, tc := range []struct {
		name string
		env  func(string) string
		uid  int
		want Paths
	}{
		{"root", env("HOME", "/root"), 0, Paths{
			Config: "/etc/edged/config.toml", Socket: "/run/edged/edged.sock", Models: "/var/lib/edged/models",
			Sessions: "/var/lib/edged/sessions",
			Lookup:   []string{"/var/lib/edged/models", "/usr/share/edged/models"}, Sockets: []string{"/run/edged/edged.sock"},
		}},
		{"the service's user in a shell", env("HOME", "/var/lib/edged", "XDG_RUNTIME_DIR", "/run/user/990"), 990, Paths{
			Config: "/etc/edged/config.toml", Socket: "/run/edged/edged.sock", Models: "/var/lib/edged/models",
			Sessions: "/var/lib/edged/sessions",
			Lookup:   []string{"/var/lib/edged/models", "/usr/share/edged/models"}, Sockets: []string{"/run/edged/edged.sock"},
		}},
		{"user without XDG", env("HOME", "/home/u"), 1000, Paths{
			Config: "/home/u/.config/edged/config.toml", Socket: "/run/user/1000/edged/edged.sock", Models: "/home/u/.local/share/edged/models",
			Sessions: "/home/u/.local/state/edged/sessions",
			Lookup:   []string{"/home/u/.local/share/edged/models", "/var/lib/edged/models", "/usr/share/edged/models"},
			Sockets:  []string{"/run/user/1000/edged/edged.sock", "/run/edged/edged.sock"},
		}},
		{"user with XDG, relative ignored", env("HOME", "/home/u", "XDG_STATE_HOME", "/x/state", "XDG_RUNTIME_DIR", "/x/run", "XDG_CONFIG_HOME", "/x/conf", "XDG_DATA_HOME", "data"), 1000, Paths{
			Config: "/x/conf/edged/config.toml", Socket: "/x/run/edged/edged.sock", Models: "/home/u/.local/share/edged/models",
			Sessions: "/x/state/edged/sessions",
			Lookup:   []string{"/home/u/.local/share/edged/models", "/var/lib/edged/models", "/usr/share/edged/models"},
			Sockets:  []string{"/x/run/edged/edged.sock", "/run/edged/edged.sock"},
		}},
		{"system unit with its own user", env("RUNTIME_DIRECTORY", "/run/edged:/run/other", "STATE_DIRECTORY", "/srv/edged", "CREDENTIALS_DIRECTORY", "/run/credentials/edged.service", "CONFIGURATION_DIRECTORY", "/etc/edged"), 990, Paths{
			Config: "/etc/edged/config.toml", Socket: "/run/edged/edged.sock", Models: "/srv/edged/models",
			Sessions: "/srv/edged/sessions", Credentials: "/run/credentials/edged.service",
			Lookup:  []string{"/srv/edged/models", "/var/lib/edged/models", "/usr/share/edged/models"},
			Sockets: []string{"/run/edged/edged.sock", "/run/user/990/edged/edged.sock"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, DefaultPaths(tc.env, tc.uid)); d != "" {
				t.Error(d)
			}
		})
	}
}

// writeFile makes a small file for tests that only need it to exist.
func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSourceLoad(t *testing.T) {
	dir := t.TempDir()
	models := filepath.Join(dir, "models")
	writeFile(t, filepath.Join(models, "installed.gguf"), "x")
	writeFile(t, filepath.Join(models, "split-00001-of-00002.gguf"), "x")
	writeFile(t, filepath.Join(models, "split-00002-of-00002.gguf"), "x")
	file := filepath.Join(dir, "conf", "config.toml")
	paths := Paths{Socket: "/run/u/edged.sock", Models: models, Lookup: []string{models}, Sessions: "/state/sessions", Config: file}

	t.Run("paths are resolved", func(t *testing.T) {
		writeFile(t, file, "[store]\ndir = \"../st\"\n[socket]\npath = \"s.sock\"\n[[model]]\nname = \"installed\"\n[[model]]\nname = \"split\"\n[[model]]\nname = \"rel\"\npath = \"../x.gguf\"\n[[model]]\nname = \"home\"\npath = \"~/x.gguf\"\n")
		c, err := Source{File: file, Required: true, Paths: paths, Home: "/home/u"}.Load()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range c.Models {
			got = append(got, m.Path)
			if m.Policy != "auto" {
				t.Errorf("model %s has policy %q", m.Name, m.Policy)
			}
		}
		want := []string{filepath.Join(models, "installed.gguf"), filepath.Join(models, "split-00001-of-00002.gguf"), filepath.Join(dir, "x.gguf"), "/home/u/x.gguf"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if want := filepath.Join(dir, "conf", "s.sock"); c.Socket.Path != want {
			t.Errorf("socket %s, want %s", c.Socket.Path, want)
		}
		if want := filepath.Join(dir, "st"); c.Store.Dir != want {
			t.Errorf("store %s, want %s", c.Store.Dir, want)
		}
	})
	t.Run("a file that is named from here", func(t *testing.T) {
		t.Chdir(filepath.Dir(file))
		c, err := Source{File: "config.toml", Paths: paths}.Load()
		if want := filepath.Join(dir, "st"); err != nil || c.Store.Dir != want {
			t.Errorf("store %s, want %s; %v", c.Store.Dir, want, err)
		}
	})
	t.Run("flags win", func(t *testing.T) {
		writeFile(t, file, "default_model = \"other\"\n[[model]]\nname = \"other\"\npath = \"o.gguf\"\n")
		c, err := Source{File: file, Paths: paths, Flags: Overrides{Socket: "/s", Models: []string{filepath.Join(models, "installed.gguf"), "split"}, Backend: "ref", Threads: 3, Context: 100}}.Load()
		if err != nil {
			t.Fatal(err)
		}
		want := []Model{
			{Name: "installed", Path: filepath.Join(models, "installed.gguf"), Context: 100, Policy: "auto"},
			{Name: "split", Path: filepath.Join(models, "split-00001-of-00002.gguf"), Context: 100, Policy: "auto"},
		}
		if d := cmp.Diff(want, c.Models); d != "" {
			t.Error(d)
		}
		if c.Socket.Path != "/s" || c.Engine.Backend != "ref" || c.Engine.Threads != 3 || c.Default() != "installed" || c.Store.Dir != "/state/sessions" {
			t.Errorf("flags not applied: %+v", c)
		}
	})
	t.Run("flag out of range", func(t *testing.T) {
		_, err := Source{File: filepath.Join(dir, "none"), Paths: paths, Flags: Overrides{Threads: -1}}.Load()
		if err == nil || err.Error() != "command line: engine.threads must be between 0 and 256, got -1" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("missing files", func(t *testing.T) {
		none := filepath.Join(dir, "none.toml")
		if _, err := (Source{File: none, Paths: paths}).Load(); err != nil {
			t.Errorf("optional file: %v", err)
		}
		if _, err := (Source{File: none, Paths: paths, Required: true}).Load(); err == nil {
			t.Error("required file: no error")
		}
		for _, arg := range []string{"absent", filepath.Join(dir, "absent.gguf")} {
			if _, err := (Source{File: none, Paths: paths, Flags: Overrides{Models: []string{arg}}}).Load(); err == nil {
				t.Errorf("model %s: no error", arg)
			}
		}
	})
	t.Run("too large", func(t *testing.T) {
		writeFile(t, file, strings.Repeat("#", maxConfigBytes+1))
		if _, err := (Source{File: file, Paths: paths}).Load(); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
			t.Errorf("got %v", err)
		}
	})
}

func TestChange(t *testing.T) {
	old := DefaultConfig()
	next := old
	next.Log.Level.Level = levels["debug"]
	next.Sampling.TopK = 1
	next.Stop.Drain = Duration{time.Second}
	next.Engine.Threads = 7
	next.Socket.AllowUIDs = []uint32{5}
	next.Models = []Model{{Name: "a"}}
	live, restart := old.Change(next)
	if d := cmp.Diff([]string{"socket.allow_uids", "sampling.top_k", "log.level", "stop.drain"}, live); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"engine.threads", "model"}, restart); d != "" {
		t.Error(d)
	}
	merged := old.WithLive(next)
	if live, _ := merged.Change(next); len(live) != 0 {
		t.Errorf("live keys %v were not taken over", live)
	}
	if _, restart := old.Change(merged); len(restart) != 0 {
		t.Errorf("keys %v were taken over without a restart", restart)
	}
}

func TestNameOfFile(t *testing.T) {
	for in, want := range map[string]string{
		"/m/needle-26m-q8_0.gguf":         "needle-26m-q8_0",
		"/m/big-Q4-00001-of-00003.gguf":   "big-Q4",
		"/m/with space(1).gguf":           "with-space-1-",
		"/m/-odd.gguf":                    "odd",
		"SmolLM2-135M-Instruct.Q4_1.gguf": "SmolLM2-135M-Instruct.Q4_1",
	} {
		if got := nameOfFile(in); got != want {
			t.Errorf("nameOfFile(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{"", "[socket]\nmode = \"0600\"\n", "[[model]]\nname='a'\n[[model]]\nname='b'\ncontext=1\n", "engine = {chunk = 0}\n", "default_model = 'x'", "[stop]\ndrain='1s'\n", "a.b.c = [1, {d = 2}]", "[engine]\nhost_memory='1e400GiB'"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := ParseConfig("f.toml", doc)
		if err == nil {
			if p := c.validate(); len(p) > 0 {
				t.Errorf("accepted with problems: %v", p)
			}
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "f.toml:") {
				t.Errorf("error without file and line: %q", line)
			}
		}
	})
}

// allKeys lists every key that a configuration may hold, "model[].name" for those
// of array tables.
func allKeys() []string {
	var keys []string
	collect := func(prefix string, v reflect.Value) {
		walkKeys(v, v, "", false, func(key string, _, _ bool) { keys = append(keys, prefix+key) })
	}
	collect("", reflect.ValueOf(Config{}))
	keys = slices.DeleteFunc(keys, func(k string) bool { return k == "model" })
	collect("model[].", reflect.ValueOf(Model{}))
	return keys
}
