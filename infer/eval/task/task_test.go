package task_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"edged/infer/eval"
	"edged/infer/eval/task"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// pieces counts as a tokenizer might: four letters a token, one for a newline.
func pieces(text string) (int, error) {
	n := strings.Count(text, "\n")
	for w := range strings.FieldsSeq(text) {
		n += (len(w) + 3) / 4
	}
	return n, nil
}

// lumpy is a counter whose counts of parts do not add up to that of the whole.
func lumpy(text string) (int, error) {
	n, err := pieces(text)
	return n + len(text)%3, err
}

func bytesOf(text string) (int, error) { return len(text), nil }

func counters() map[string]func(string) (int, error) {
	return map[string]func(string) (int, error){"pieces": pieces, "lumpy": lumpy, "bytes": bytesOf}
}

func generate(t interface {
	Helper()
	Fatalf(string, ...any)
}, s task.Spec, count func(string) (int, error)) eval.Case {
	t.Helper()
	c, err := task.Generate(s, count)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return c
}

func anySpec(t *rapid.T) task.Spec {
	s := task.Spec{
		Task:   rapid.SampledFrom(task.Names()).Draw(t, "task"),
		Tokens: rapid.IntRange(6000, 30000).Draw(t, "tokens"),
		Turns:  rapid.IntRange(0, 16).Draw(t, "turns"),
		Seed:   rapid.Uint64Range(0, 999_999_999).Draw(t, "seed"),

		MessageTokens:      rapid.IntRange(0, 20).Draw(t, "message tokens"),
		ConversationTokens: rapid.IntRange(0, 50).Draw(t, "conversation tokens"),
	}
	if s.Task == "frequent" {
		s.Turns = min(s.Turns, 1)
	}
	return s
}

func TestLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySpec(t)
		name := rapid.SampledFrom([]string{"pieces", "lumpy", "bytes"}).Draw(t, "counter")
		count := counters()[name]
		c := generate(t, s, count)
		total := s.ConversationTokens
		for _, m := range c.Messages {
			n, _ := count(m.Content)
			total += n + s.MessageTokens
		}
		if total != c.Tokens || total > s.Tokens || 100*total < 98*s.Tokens {
			t.Fatalf("%d tokens, the case says %d, wanted %d", total, c.Tokens, s.Tokens)
		}
	})
}

// A case is what eval.ReadCases accepts, unchanged by being written and read.
func TestCasesParse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "case.jsonl")
	rapid.Check(t, func(t *rapid.T) {
		s := anySpec(t)
		c := generate(t, s, pieces)
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, line, 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := eval.ReadCases(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]eval.Case{c}, read); diff != "" {
			t.Fatalf("(-written +read):\n%s", diff)
		}
		if want := fmt.Sprintf("%s-%d-%d", s.Task, s.Tokens, s.Seed); c.ID != want || c.Length != s.Tokens {
			t.Fatalf("id %q, length %d", c.ID, c.Length)
		}
	})
}

// The digest pins what seeds mean: cases of two machines, or of two versions,
// must be the same ones to be compared.
func TestSameEverywhere(t *testing.T) {
	digest := sha256.New()
	for _, name := range task.Names() {
		for seed := range uint64(4) {
			c := generate(t, task.Spec{Task: name, Tokens: 3000, Seed: seed}, pieces)
			if again := generate(t, task.Spec{Task: name, Tokens: 3000, Seed: seed}, pieces); cmp.Diff(c, again) != "" {
				t.Errorf("%s differs from one call to the next", c.ID)
			}
			if err := json.NewEncoder(digest).Encode(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	const want = "f3fa04f6748412bc8051febc40cffbae8875b0788e4e48e8f8875bd7c0ef038e"
	if got := fmt.Sprintf("%x", digest.Sum(nil)); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	a := generate(t, task.Spec{Task: "number", Tokens: 3000, Seed: 1}, pieces)
	b := generate(t, task.Spec{Task: "number", Tokens: 3000, Seed: 2}, pieces)
	if a.Values[0][0] == b.Values[0][0] {
		t.Error("two seeds make the same case")
	}
}

func TestRefuses(t *testing.T) {
	broken := errors.New("no tokenizer")
	for _, c := range []struct {
		name  string
		spec  task.Spec
		count func(string) (int, error)
		want  string
	}{
		{"unknown task", task.Spec{Task: "nummer", Tokens: 2048}, pieces, `unknown task "nummer", want one of number, uuid`},
		{"no tokens", task.Spec{Task: "number"}, pieces, "tokens must be 1 to 1048576, got 0"},
		{"too many tokens", task.Spec{Task: "number", Tokens: 1<<20 + 1}, pieces, "got 1048577"},
		{"negative turns", task.Spec{Task: "number", Tokens: 2048, Turns: -1}, pieces, "must be 1 to 16, got -1"},
		{"too many turns", task.Spec{Task: "number", Tokens: 2048, Turns: 17}, pieces, "must be 1 to 16, got 17"},
		{"frequent words twice", task.Spec{Task: "frequent", Tokens: 2048, Turns: 2}, pieces, "frequent must be 1 to 1, got 2"},
		{"seed", task.Spec{Task: "number", Tokens: 2048, Seed: 1e9}, pieces, "at most 999999999, got 1000000000"},
		{"message tokens", task.Spec{Task: "number", Tokens: 2048, MessageTokens: -1}, pieces, "0 to 1024, got -1 and 0"},
		{"conversation tokens", task.Spec{Task: "number", Tokens: 2048, ConversationTokens: 1025}, pieces, "got 0 and 1025"},
		{"no room for the facts", task.Spec{Task: "trace", Tokens: 100}, pieces, "4 questions and their facts take at least"},
		{"notes too coarse", task.Spec{Task: "multiuuid", Tokens: 700, Turns: 1}, bytesOf, "2 %: at least"},
		{"failing counter", task.Spec{Task: "number", Tokens: 2048}, func(string) (int, error) { return 0, broken }, "count tokens: no tokenizer"},
		{"negative counter", task.Spec{Task: "number", Tokens: 2048}, func(string) (int, error) { return -1, nil }, "negative"},
		{"constant counter", task.Spec{Task: "number", Tokens: 2048}, func(string) (int, error) { return 1, nil }, "the counter finds 8 tokens in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := task.Generate(c.spec, c.count)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A length is refused only below the least that the error names.
func TestRefusalNamesTheLeast(t *testing.T) {
	least := regexp.MustCompile(`at least ([0-9]+)`)
	rapid.Check(t, func(t *rapid.T) {
		s := anySpec(t)
		s.Tokens = rapid.IntRange(1, 1500).Draw(t, "few tokens")
		_, err := task.Generate(s, pieces)
		if err == nil {
			return
		}
		m := least.FindStringSubmatch(err.Error())
		if m == nil {
			t.Fatal(err)
		}
		if n, _ := strconv.Atoi(m[1]); n <= s.Tokens {
			t.Fatalf("%d tokens are refused: %v", s.Tokens, err)
		}
	})
}

// Long documents must not cost many counts.
func TestFewCounts(t *testing.T) {
	for _, name := range task.Names() {
		long := 0
		count := func(text string) (int, error) {
			if len(text) > 100_000 {
				long++
			}
			return pieces(text)
		}
		generate(t, task.Spec{Task: name, Tokens: 131072, Seed: 5}, count)
		if long > 6 {
			t.Errorf("%s counts a long document %d times", name, long)
		}
	}
}
