package catalog

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestList(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, bytes := range map[string]int{
		"b.gguf": 10, "a.gguf": 20, "notes.txt": 5, "c.gguf.part": 7, ".hidden.gguf": 9,
		"set-00001-of-00003.gguf": 100, "set-00002-of-00003.gguf": 200, "set-00003-of-00003.gguf": 300,
		"torn-00002-of-00002.gguf": 50, "odd-00007-of-00003.gguf": 3,
	} {
		path := filepath.Join(dir, name)
		writeFile(t, path, make([]byte, bytes))
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	newest := at.Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "set-00002-of-00003.gguf"), newest, newest); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.gguf"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"link.gguf": "b.gguf", "dangling.gguf": "gone.gguf"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	want := []Model{
		{Name: "a", Path: in("a.gguf"), Bytes: 20, Parts: 1, ModTime: at},
		{Name: "b", Path: in("b.gguf"), Bytes: 10, Parts: 1, ModTime: at},
		{Name: "link", Path: in("link.gguf"), Bytes: 10, Parts: 1, ModTime: at},
		{Name: "odd-00007-of-00003", Path: in("odd-00007-of-00003.gguf"), Bytes: 3, Parts: 1, ModTime: at},
		{Name: "set", Path: in("set-00001-of-00003.gguf"), Bytes: 600, Parts: 3, ModTime: newest},
		{Name: "torn", Path: in("torn-00001-of-00002.gguf"), Bytes: 50, Parts: 2, Missing: 1, ModTime: at},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); d != "" {
		t.Errorf("models (-want +got):\n%s", d)
	}
}

func TestListFolders(t *testing.T) {
	dir := t.TempDir()
	if got, err := List(filepath.Join(dir, "missing")); err != nil || len(got) != 0 {
		t.Errorf("missing folder: %v, %v", got, err)
	}
	writeFile(t, filepath.Join(dir, "file"), nil)
	_, err := List(filepath.Join(dir, "file"))
	wantError(t, err, "list models: ")
}

func smallModel(t *testing.T) *gguftest.Builder {
	t.Helper()
	b := &gguftest.Builder{}
	b.Set("general.architecture", "qwen3")
	b.Set("general.name", "Tiny")
	b.Set("general.license", "apache-2.0")
	b.Set("qwen3.context_length", uint32(40960))
	b.Set("qwen3.block_count", uint32(2))
	b.Set("tokenizer.ggml.model", "gpt2")
	b.Set("tokenizer.ggml.pre", "qwen2")
	b.Set("tokenizer.ggml.tokens", []string{"a", "b", "c"})
	b.Set("tokenizer.chat_template", "{{ x }}")
	r := rand.New(rand.NewPCG(1, 2))
	b.RandomTensor(r, "w1", gguf.Q8_0, []uint64{64, 3}, 1)
	b.RandomTensor(r, "w2", gguf.Q8_0, []uint64{32, 2}, 1)
	b.RandomTensor(r, "norm", gguf.F32, []uint64{8}, 1)
	return b
}

func TestShow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tiny.gguf")
	if err := smallModel(t).WriteFile(path); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Info{
		Path: path, Bytes: stat.Size(), Name: "Tiny", Architecture: "qwen3", Licence: "apache-2.0",
		Parameters: 64*3 + 32*2 + 8, Context: 40960, Layers: 2, Tensors: 3,
		// A Q8_0 block holds 32 elements in 34 bytes.
		Quantization: []TypeShare{{Type: "Q8_0", Tensors: 2, Bytes: 8 * 34}, {Type: "F32", Tensors: 1, Bytes: 32}},
		Tokenizer:    "gpt2", PreTokenizer: "qwen2", Vocabulary: 3, ChatTemplate: true,
	}
	got, err := Show(path)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "info", want, got)

	paths, err := smallModel(t).WriteSplit(dir, "set", 2)
	if err != nil {
		t.Fatal(err)
	}
	split, err := Show(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	want.Path, want.Bytes = paths[0], split.Bytes
	diff(t, "info of the split set", want, split)
}

func TestShowErrors(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bad.gguf"), fakeModel(100, 1))
	_, err := Show(filepath.Join(dir, "bad.gguf"))
	wantError(t, err, "show model: ")
	_, err = Show(filepath.Join(dir, "missing.gguf"))
	wantError(t, err, "no such file")
}
