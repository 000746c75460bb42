package daemon

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"edged/store"
)

// TestSessionsFolderIsRefused checks that each refusal names the folder and
// the remedy, and whether trying again may help.
func TestSessionsFolderIsRefused(t *testing.T) {
	cred := t.TempDir()
	writeFile(t, filepath.Join(cred, "key"), strings.Repeat("k", store.KeyBytes))
	writeFile(t, filepath.Join(cred, "other"), strings.Repeat("ab", store.KeyBytes)+"\n")
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, dir string) Store
		want    string
		heals   bool
	}{
		{"in use", func(t *testing.T, dir string) Store {
			s := openStore(t, dir)
			t.Cleanup(func() { s.Close() })
			return Store{Dir: dir}
		}, "stop that process, or give this daemon a store.dir of its own", true},
		{"sealed with another key", func(t *testing.T, dir string) Store {
			makeSealed(t, dir, cred)
			return Store{Dir: dir, KeyCredential: "other"}
		}, "set store.key_credential", false},
		{"sealed, without a key", func(t *testing.T, dir string) Store {
			makeSealed(t, dir, cred)
			return Store{Dir: dir}
		}, "it is sealed and no key was given; set store.key_credential", false},
		{"open to others", func(t *testing.T, dir string) Store {
			if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
			return Store{Dir: dir}
		}, "folder is not private: it has mode 0755, others may not enter it (chmod 700); correct that", false},
		{"without its index", func(t *testing.T, dir string) Store {
			if err := openStore(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, "index.db")); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "chunks", "00000000000000ff-0123456789abcdef"), "x")
			return Store{Dir: dir}
		}, "index is lost: there is no index.db, and chunks/ holds 1 chunk file; put index.db back from a backup", false},
		{"a file", func(t *testing.T, dir string) Store { return Store{Dir: writeFile(t, dir, "x")} }, "set store.dir to a folder", false},
		{"below a file", func(t *testing.T, dir string) Store { return Store{Dir: writeFile(t, dir, "x") + "/s"} }, "set store.dir to a folder", false},
		{"no home", func(*testing.T, string) Store { return Store{Dir: ".local/state/edged/sessions"} }, "set store.dir", false},
		{"no such credential", func(_ *testing.T, dir string) Store { return Store{Dir: dir, KeyCredential: "absent"} }, "read credential: open", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sessions")
			c := tc.prepare(t, dir)
			c.Enabled = true
			s, err := openSessions(t.Context(), c, cred)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			var config *ConfigError
			if errors.As(err, &config) == tc.heals {
				t.Errorf("a ConfigError: %v; trying again helps: %v", !tc.heals, tc.heals)
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), c.Dir) {
				t.Errorf("%q lacks %q or the folder", err, tc.want)
			}
		})
	}
}

// A daemon that is started at once after another was killed gets the store.
func TestStoreOfAnEndingProcess(t *testing.T) {
	dir := t.TempDir() + "/sessions"
	ending := openStore(t, dir)
	opened := make(chan error)
	go func() {
		s, err := openSessions(t.Context(), Store{Enabled: true, Dir: dir}, "")
		opened <- errors.Join(err, closeSessions(s))
	}()
	if err := ending.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func makeSealed(t *testing.T, dir, credentials string) {
	t.Helper()
	s, err := openSessions(t.Context(), Store{Enabled: true, Dir: dir, KeyCredential: "key"}, credentials)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := openSessions(t.Context(), Store{Enabled: true, Dir: dir + "/sessions"}, "")
	var config *ConfigError
	if !errors.As(err, &config) || !strings.Contains(err.Error(), "make the folder writable") {
		t.Errorf("got %v", err)
	}
}

func TestNoSessions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	s, err := openSessions(t.Context(), Store{Dir: dir}, "")
	if s != nil || err != nil {
		t.Fatalf("got %v, %v", s, err)
	}
	if err := closeSessions(s); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder was made: %v", err)
	}
}

// TestKeyOfAnEncryptedCredential seals a store with what the service manager makes
// of LoadCredentialEncrypted: the file as systemd-creds decrypts it, for its owner alone.
func TestKeyOfAnEncryptedCredential(t *testing.T) {
	tool, err := exec.LookPath("systemd-creds")
	if err != nil {
		t.Skip("systemd-creds is not installed")
	}
	key := bytes.Repeat([]byte{0xab, '\n'}, store.KeyBytes/2)
	secret := writeFile(t, filepath.Join(t.TempDir(), "secret"), string(key))
	encrypted, credentials := filepath.Join(t.TempDir(), "edged-store.cred"), t.TempDir()
	for _, args := range [][]string{
		{"encrypt", "--with-key=tpm2-absent", "--name=edged-store", secret, encrypted}, // leaves nothing on this machine
		{"decrypt", "--name=edged-store", encrypted, filepath.Join(credentials, "edged-store")},
	} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Skipf("systemd-creds %s: %v: %s", args[0], err, out)
		}
	}
	if err := os.Chmod(filepath.Join(credentials, "edged-store"), 0o400); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "sessions")
	c := Store{Enabled: true, Dir: dir, KeyCredential: "edged-store"}
	s, err := openSessions(t.Context(), c, credentials)
	if err != nil {
		t.Fatal(err)
	}
	const title = "a title that must not lie in clear"
	if _, err := s.User(1).Create(store.New{Title: title}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(title)) {
			t.Errorf("%s has the title in clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSessions(t.Context(), c, t.TempDir()); err == nil || !strings.Contains(err.Error(), "read credential: open") {
		t.Errorf("without the credential: %v", err)
	}
}

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	raw := bytes.Repeat([]byte{0xab, '\n'}, store.KeyBytes/2)
	for _, tc := range []struct {
		name, content, want string // want is part of the error, "" for none
	}{
		{"bytes", string(raw), ""},
		{"digits", strings.Repeat("ab0a", store.KeyBytes/2), ""},
		{"digits and end of line", strings.Repeat("AB0A", store.KeyBytes/2) + "\r\n", ""},
		{"empty", "", "it has 0 bytes"},
		{"short", "abc", "it has 3 bytes"},
		{"bytes and end of line", string(raw) + "\n", "it has 33 bytes"},
		{"no digits", strings.Repeat("x", 2*store.KeyBytes), "it has 64 bytes"},
		{"large", strings.Repeat("a", 1000), "it has more than 66 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			writeFile(t, filepath.Join(dir, "key"), tc.content)
			got, err := readKey(dir, "key")
			if tc.want == "" {
				if err != nil || !bytes.Equal(got, raw) {
					t.Errorf("got %x, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "32 bytes or 64 hexadecimal digits") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := readKey("", "key"); err == nil || !strings.Contains(err.Error(), "LoadCredentialEncrypted=key") {
		t.Errorf("without credentials: %v", err)
	}
}
