package eval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// line is one case as JSON; values and answers are "v" plus the turn.
func line(id, task string, turns int) string {
	var messages, values []string
	for i := range turns {
		messages = append(messages, fmt.Sprintf(`{"role":"user","content":"q%d"},{"role":"assistant","content":"it is v%d."}`, i, i))
		values = append(values, fmt.Sprintf(`["v%d"]`, i))
	}
	return fmt.Sprintf(`{"id":%q,"task":%q,"tokens":9,"messages":[%s],"values":[%s]}`, id, task, strings.Join(messages, ","), strings.Join(values, ","))
}

func mustParse(t *testing.T, lines ...string) []Case {
	t.Helper()
	cases, err := parseCases(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestReadCases(t *testing.T) {
	cases, err := ReadCases("testdata/cases.jsonl.gz")
	if err != nil || len(cases) != 2 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	c := cases[0]
	if c.ID != "number-2048-0" || c.Task != "number" || c.Length != 2048 || len(c.Values) != 4 || len(c.Messages) != 8 {
		t.Errorf("%s: task %s, length %d, %d turns", c.ID, c.Task, c.Length, len(c.Values))
	}
	plain := filepath.Join(t.TempDir(), "cases.jsonl")
	if err := os.WriteFile(plain, []byte(line("trace-8192-3", "trace", 2)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cases, err := ReadCases(plain); err != nil || len(cases) != 1 || cases[0].Length != 8192 {
		t.Errorf("plain file: %v, %v", cases, err)
	}
}

func TestParseCasesRefuses(t *testing.T) {
	good := line("number-10-0", "number", 1)
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "no cases"},
		{"empty line", good + "\n\n" + line("number-10-1", "number", 1), "line 2 is empty"},
		{"not JSON", good + "\nxx", "line 2: invalid"},
		{"two values", good + good, "more than one"},
		{"unknown field", strings.Replace(good, `"task"`, `"tusk"`, 1), "tusk"},
		{"same id twice", good + "\n" + good, "is that of line 1"},
		{"id of another task", line("uuid-10-0", "number", 1), "TASK-LENGTH-NUMBER"},
		{"id without a length", line("number", "number", 1), "TASK-LENGTH-NUMBER"},
		{"length 0", line("number-0-0", "number", 1), "at least 1"},
		{"too few values", strings.Replace(line("number-10-0", "number", 2), `,["v1"]`, "", 1), "4 messages for 1"},
		{"no turns", line("number-10-0", "number", 0), "0 messages for 0"},
		{"roles", strings.Replace(good, `"assistant"`, `"user"`, 1), "message 1 has role"},
		{"empty content", strings.Replace(good, `"q0"`, `""`, 1), "message 0 is empty"},
		{"no value", strings.Replace(good, `["v0"]`, `[]`, 1), "turn 0 has no values"},
		{"empty value", strings.Replace(good, `["v0"]`, `[""]`, 1), "empty value"},
		{"a right answer that is wrong", strings.Replace(good, `["v0"]`, `["w"]`, 1), "does not contain"},
		{"long line", good + "\n" + strings.Repeat("x", maxCaseBytes+1), "line 2 is longer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseCases(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzCases(f *testing.F) {
	f.Add(line("number-10-0", "number", 2))
	f.Add(line("number-10-0", "number", 1) + "\n" + line("trace-10-0", "trace", 1))
	f.Fuzz(func(t *testing.T, text string) {
		cases, err := parseCases(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, c := range cases {
			if err := c.check(); err != nil {
				t.Errorf("accepted %+v: %v", c, err)
			}
		}
	})
}

// scripted answers what it is told to, and remembers the conversations.
type scripted struct {
	answers []string
	asked   [][]Message
}

func (s *scripted) Answer(_ context.Context, m []Message, maxTok int) (string, error) {
	if maxTok != 80 {
		return "", fmt.Errorf("asked for %d tokens", maxTok)
	}
	s.asked = append(s.asked, m)
	if len(s.asked) > len(s.answers) {
		return "", errors.New("no more answers")
	}
	return s.answers[len(s.asked)-1], nil
}

func TestCasesScores(t *testing.T) {
	cases := mustParse(t, line("number-10-0", "number", 2), line("trace-10-0", "trace", 1), line("number-20-0", "number", 1), line("number-10-1", "number", 1))
	cases[1].Values[0] = []string{"A", "B", "C", "D"}
	s := &scripted{answers: []string{"no idea", "it is v1", "B and D", "v0", "v0"}}
	r, err := Cases(t.Context(), s, cases, CasesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []CasesRow{
		{Task: "number", Length: 10, Cases: 2, Turns: 3, Score: 2.0 / 3},
		{Task: "trace", Length: 10, Cases: 1, Turns: 1, Score: 0.5},
		{Task: "number", Length: 20, Cases: 1, Turns: 1, Score: 1},
	}
	if diff := cmp.Diff(want, r.Rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	// The second turn is asked after the right first answer, not the given one.
	if diff := cmp.Diff([]Message{{"user", "q0"}, {"assistant", "it is v0."}, {"user", "q1"}}, s.asked[1]); diff != "" {
		t.Errorf("second turn (-want +got):\n%s", diff)
	}
	if r.Turns[0].Answer != "no idea" || r.Turns[0].Score != 0 || r.Turns[2].Case != "trace-10-0" {
		t.Errorf("turns %+v", r.Turns)
	}
	if _, err := Cases(t.Context(), s, cases, CasesOptions{}); err == nil || !strings.Contains(err.Error(), "case number-10-0, turn 0") {
		t.Errorf("a failing answerer: %v", err)
	}
}

func TestCasesFilters(t *testing.T) {
	var lines []string
	for i := range 3 {
		for _, task := range []string{"number", "trace"} {
			for _, n := range []int{10, 20} {
				lines = append(lines, line(fmt.Sprintf("%s-%d-%d", task, n, i), task, 1))
			}
		}
	}
	cases := mustParse(t, lines...)
	for _, c := range []struct {
		opt  CasesOptions
		want string // "" counts, else the error
		n    int
	}{
		{CasesOptions{}, "", 12},
		{CasesOptions{Tasks: []string{"trace"}}, "", 6},
		{CasesOptions{Lengths: []int{10}, Limit: 2}, "", 4},
		{CasesOptions{Tasks: []string{"trace"}, Lengths: []int{20}, Limit: 1}, "", 1},
		{CasesOptions{Tasks: []string{"tracer"}}, `no case has task "tracer"`, 0},
		{CasesOptions{Lengths: []int{30}}, "no case has length 30", 0},
		{CasesOptions{Limit: -1}, "got -1", 0},
	} {
		got, err := c.opt.choose(cases)
		if len(got) != c.n || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %d cases, %v", c.opt, len(got), err)
		}
	}
}

func TestMinScores(t *testing.T) {
	r := &CasesReport{Rows: []CasesRow{{Task: "number", Length: 10, Score: 0.9, Turns: 4}, {Task: "number", Length: 20, Score: 0.7, Turns: 4}, {Task: "uuid", Length: 10, Score: 0.1 + 0.2, Turns: 4}}}
	for _, c := range []struct{ mins, want string }{
		{"number=0.7,uuid=0.3", ""},
		{"number-10=0.9", ""},
		{"number=0.71", "number at 20 tokens scores 0.700"},
		{"number-20=0.8,uuid=0.4", "number at 20 tokens scores 0.700 over 4 turns, the least is 0.800\nuuid at 10"},
		{"trace=0", "given for trace, but no such case ran"},
		{"number-30=0", "number-30, but no such case ran"},
		{"number", "not TASK=SCORE"},
		{"number=1.5", "between 0 and 1"},
		{"number=NaN", "between 0 and 1"},
		{"number-x=1", "not TASK-LENGTH"},
		{"number=1,number=1", "given twice"},
		{"", "not TASK=SCORE"},
	} {
		mins, err := ParseMinScores(c.mins)
		if err == nil {
			err = r.Check(mins)
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.mins, err, c.want)
		}
	}
}

func TestCasesTable(t *testing.T) {
	r := &CasesReport{Seconds: 1.25, Rows: []CasesRow{{"number", 2048, 6, 24, 1}, {"trace", 8192, 3, 12, 0.2853}}}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `    task  length  cases  turns  score
  number    2048      6     24  1.000
   trace    8192      3     12  0.285

36 turns in 1.2 s
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
