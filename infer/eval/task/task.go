package task

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"edged/infer/eval"
)

// Limits of a Spec. An id of eval has nine digits for the seed, and a line of
// eval's files takes 8 MiB, some eight bytes for each of maxTokens.
const (
	maxTokens         = 1 << 20
	maxTurns          = 16
	maxSeed           = 999_999_999
	maxTemplateTokens = 1024
)

const defaultTurns = 4

// Spec says which case to generate.
type Spec struct {
	Task   string // one of Names
	Tokens int    // of the whole conversation, at most; 2 % less at least
	Turns  int    // questions, 1 to 16 or 0 for 4; "frequent" has one question
	Seed   uint64 // up to 999999999; also the number in the case's ID

	// What the chat template adds to every message, and once.
	MessageTokens, ConversationTokens int
}

// Names lists the tasks in the order of their descriptions.
func Names() []string {
	return []string{"number", "uuid", "multikey", "multiuuid", "multivalue", "trace", "frequent"}
}

// Generate makes one case. The counter gives the number of tokens of a text.
func Generate(spec Spec, count func(string) (int, error)) (eval.Case, error) {
	if err := spec.complete(); err != nil {
		return eval.Case{}, fmt.Errorf("generate case: %w", err)
	}
	p := newGenerator(spec).plan(spec)
	f := filling{plan: p, spec: spec, count: count}
	text, tokens, err := f.fill()
	if err != nil {
		return eval.Case{}, fmt.Errorf("generate %s case of %d tokens: %w", spec.Task, spec.Tokens, err)
	}
	c := eval.Case{
		ID:     fmt.Sprintf("%s-%d-%d", spec.Task, spec.Tokens, spec.Seed),
		Task:   spec.Task,
		Tokens: tokens,
		Length: spec.Tokens,
	}
	for i, t := range p.turns {
		question := t.question
		if i == 0 {
			question = text
		}
		c.Messages = append(c.Messages, eval.Message{Role: "user", Content: question}, eval.Message{Role: "assistant", Content: t.answer})
		c.Values = append(c.Values, t.values)
	}
	return c, nil
}

// complete sets the default number of turns and checks the rest.
func (s *Spec) complete() error {
	if !slices.Contains(Names(), s.Task) {
		return fmt.Errorf("unknown task %q, want one of %s", s.Task, strings.Join(Names(), ", "))
	}
	most, preset := maxTurns, defaultTurns
	if s.Task == "frequent" {
		most, preset = 1, 1
	}
	if s.Turns == 0 {
		s.Turns = preset
	}
	switch {
	case s.Turns < 1 || s.Turns > most:
		return fmt.Errorf("turns of task %s must be 1 to %d, got %d", s.Task, most, s.Turns)
	case s.Tokens < 1 || s.Tokens > maxTokens:
		return fmt.Errorf("tokens must be 1 to %d, got %d", maxTokens, s.Tokens)
	case s.Seed > maxSeed:
		return fmt.Errorf("seed must be at most %d, got %d", maxSeed, s.Seed)
	case min(s.MessageTokens, s.ConversationTokens) < 0 || max(s.MessageTokens, s.ConversationTokens) > maxTemplateTokens:
		return fmt.Errorf("tokens per message and conversation must be 0 to %d, got %d and %d", maxTemplateTokens, s.MessageTokens, s.ConversationTokens)
	}
	return nil
}

// plan is a case but for the length of its document.
type plan struct {
	turns []turn
	least int                // units of filler of the shortest document
	unit  string             // what a unit is, for errors
	text  func(n int) string // the document with n units
}

type turn struct {
	question, answer string
	values           []string
}

// generator draws the facts of one case.
type generator struct {
	*rand.Rand
	used map[string]bool // keys, values and variables; each is drawn once
}

// newGenerator seeds with everything that is wanted, so that cases of two
// tasks or lengths share nothing.
func newGenerator(s Spec) *generator {
	id := fmt.Sprintf("edged task %s %d %d %d", s.Task, s.Tokens, s.Turns, s.Seed)
	return &generator{Rand: rand.New(rand.NewChaCha8(sha256.Sum256([]byte(id)))), used: map[string]bool{}}
}

func (g *generator) plan(s Spec) plan {
	switch s.Task {
	case "number":
		return g.notes(s, g.number)
	case "uuid":
		return g.notes(s, g.uuid)
	case "multikey":
		return g.onlyNotes(s, g.number)
	case "multiuuid":
		return g.onlyNotes(s, g.uuid)
	case "multivalue":
		return g.multivalue(s)
	case "trace":
		return g.trace(s)
	default: // complete let nothing else pass
		return g.frequent()
	}
}

// fresh draws until it gets a text that was not drawn before.
func (g *generator) fresh(draw func() string) string {
	for {
		if s := draw(); !g.used[s] {
			g.used[s] = true
			return s
		}
	}
}
