package task_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"edged/infer/eval"
	"edged/infer/eval/task"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// document splits the first message into lines and the first question.
func document(c eval.Case) ([]string, string) {
	lines := strings.Split(c.Messages[0].Content, "\n")
	return lines[:len(lines)-1], lines[len(lines)-1]
}

// questions lists the question of every turn.
func questions(c eval.Case) []string {
	_, first := document(c)
	qs := []string{first}
	for i := 2; i < len(c.Messages); i += 2 {
		qs = append(qs, c.Messages[i].Content)
	}
	return qs
}

var (
	noteLine = regexp.MustCompile(`^Note: the access code of ([a-z]+-[a-z]+) is ([0-9]{7}|[0-9a-f]{4}(?:-[0-9a-f]{4}){3})\.$`)
	question = regexp.MustCompile(`^(?:What is the|List every) access code of ([a-z]+-[a-z]+)[?.]$`)
)

// Facts are read back from the document: every question's values are exactly
// those of its key, in order, and no text but the notes has them.
func TestNotes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySpec(t)
		s.Task = rapid.SampledFrom([]string{"number", "uuid", "multikey", "multiuuid", "multivalue"}).Draw(t, "note task")
		c := generate(t, s, pieces)
		lines, _ := document(c)
		codes := map[string][]string{}
		for _, l := range lines {
			if m := noteLine.FindStringSubmatch(l); m != nil {
				codes[m[1]] = append(codes[m[1]], m[2])
			} else if strings.Contains(l, "Note") || s.Task == "multikey" || s.Task == "multiuuid" {
				t.Fatalf("line %q", l)
			}
		}
		doc := strings.Join(lines, "\n")
		asked := map[string]bool{}
		for i, q := range questions(c) {
			m := question.FindStringSubmatch(q)
			if m == nil || asked[m[1]] {
				t.Fatalf("question %q, or its key twice", q)
			}
			asked[m[1]] = true
			if diff := cmp.Diff(codes[m[1]], c.Values[i]); diff != "" {
				t.Fatalf("%s (-document +values):\n%s", q, diff)
			}
			if n := len(c.Values[i]); s.Task == "multivalue" && (n < 2 || n > 4) || s.Task != "multivalue" && n != 1 {
				t.Fatalf("%d values of %s", n, m[1])
			}
			for _, v := range c.Values[i] {
				if n := strings.Count(doc, v); n != 1 {
					t.Fatalf("the document has %s %d times", v, n)
				}
			}
		}
		if s.Task == "multivalue" && len(codes) != len(asked) {
			t.Fatalf("%d keys, %d asked for", len(codes), len(asked))
		}
	})
}

// Following the assignments gives the answers; a variable is named once where
// it is assigned and once where it is passed on.
func TestTrace(t *testing.T) {
	assign := regexp.MustCompile(`^(?:The value ([0-9]{7})|VAR ([A-Z]{3})) goes to VAR ([A-Z]{3})\.$`)
	rapid.Check(t, func(t *rapid.T) {
		s := anySpec(t)
		s.Task = "trace"
		c := generate(t, s, pieces)
		lines, _ := document(c)
		doc := strings.Join(lines, "\n")
		value := map[string]string{} // of each variable
		chains := map[string][]string{}
		for _, l := range lines {
			m := assign.FindStringSubmatch(l)
			if m == nil {
				continue
			}
			v := m[1]
			if m[2] != "" {
				v = value[m[2]]
			}
			if value[m[3]] != "" || v == "" {
				t.Fatalf("%q: assigned before, or from nothing", l)
			}
			value[m[3]] = v
			chains[v] = append(chains[v], m[3])
		}
		for i, q := range questions(c) {
			v := strings.TrimSuffix(strings.TrimPrefix(q, "Which variables hold "), "?")
			if diff := cmp.Diff(chains[v], c.Values[i]); diff != "" {
				t.Fatalf("%s (-document +values):\n%s", q, diff)
			}
			for k, name := range c.Values[i] {
				want := 2
				if k == len(c.Values[i])-1 {
					want = 1
				}
				if n := strings.Count(doc, name); n != want {
					t.Fatalf("the document has %s %d times, want %d", name, n, want)
				}
			}
			if n := strings.Count(doc, v); n != 1 || len(c.Values[i]) < 2 || len(c.Values[i]) > 4 {
				t.Fatalf("%s %d times, %d variables", v, n, len(c.Values[i]))
			}
		}
	})
}

func TestFrequent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := task.Spec{Task: "frequent", Tokens: rapid.IntRange(400, 9000).Draw(t, "tokens"), Seed: rapid.Uint64Range(0, 999).Draw(t, "seed")}
		c := generate(t, s, pieces)
		lines, _ := document(c)
		times := map[string]int{}
		for w := range strings.FieldsSeq(lines[0]) {
			times[w]++
		}
		words := make([]string, 0, len(times))
		for w := range times {
			words = append(words, w)
		}
		slices.SortFunc(words, func(a, b string) int { return times[b] - times[a] })
		if diff := cmp.Diff([][]string{words[:3]}, c.Values); diff != "" || len(lines) != 1 {
			t.Fatalf("%d lines (-document +values):\n%s", len(lines), diff)
		}
		for i := range 3 {
			if times[words[i]] <= times[words[i+1]] {
				t.Fatalf("%s and %s are alike, %d times", words[i], words[i+1], times[words[i]])
			}
		}
	})
}

// Facts keep their order and lie one in each part, whatever the length.
func TestDepths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySpec(t)
		s.Task, s.Turns = "multivalue", 4
		c := generate(t, s, pieces)
		lines, _ := document(c)
		var at []int
		for i, l := range lines {
			if noteLine.MatchString(l) {
				at = append(at, i)
			}
		}
		for i, line := range at {
			if lo, hi := i*len(lines)/len(at)-len(at), (i+1)*len(lines)/len(at)+len(at); line < lo || line > hi {
				t.Fatalf("note %d of %d is line %d of %d", i, len(at), line, len(lines))
			}
		}
	})
}
