package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"edged/infer"
	"edged/infer/eval"
	"edged/infer/eval/task"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/infer/tok"
)

// evaluated is an open model file with what measurements need of it.
type evaluated struct {
	prog *graph.Program
	tok  *tok.Tokenizer
}

// open runs f with the model's program and tokenizer.
func (e Evaluation) open(f func(evaluated) error) error {
	path, err := e.Paths.ModelFile(e.Model)
	if err != nil {
		return err
	}
	file, err := gguf.Open(path)
	if err != nil {
		return err
	}
	err = func() error {
		prog, err := model.Build(file)
		if err != nil {
			return err
		}
		t, err := tok.FromMetadata(file)
		if err != nil {
			return err
		}
		return f(evaluated{prog, t})
	}()
	return errors.Join(err, file.Close())
}

// Text compares the evaluation's cache with `full` over so many passages of a text,
// spread evenly over it.
func (e Evaluation) Text(ctx context.Context, text string, passages, from, tokens int, progress func(done, total int)) (r *eval.TextReport, err error) {
	backend, err := infer.NewBackend(e.Backend)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	err = e.open(func(m evaluated) error {
		ids, bos := m.tok.Encode(nil, text), m.tok.AppendBOS(nil)
		if most := max(from, tokens); most > m.prog.Context { // so that sums are none that overflow
			return fmt.Errorf("evaluate text: %d tokens > %d, the model's context", most, m.prog.Context)
		}
		if tokens == 0 {
			tokens = min(len(bos)+len(ids), m.prog.Context) - from - 1
		}
		context := from + max(tokens, 0) + 1
		if context > m.prog.Context {
			return fmt.Errorf("evaluate text: %d tokens > %d, the model's context", context, m.prog.Context)
		}
		base, err := Cache{}.plan(m.prog.KV, context)
		if err != nil {
			return err
		}
		other, err := e.Cache.plan(m.prog.KV, context)
		if err != nil {
			return err
		}
		cut, err := passagesOf(ids, bos, passages, context)
		if err != nil {
			return err
		}
		r, err = eval.Text(ctx, m.prog, cut, eval.TextOptions{Backend: backend, Threads: e.threads(), Chunk: infer.DefaultChunkTok,
			From: from, Tokens: tokens, Base: base, Other: other, Progress: progress})
		return err
	})
	return r, err
}

// passagesOf cuts n passages of so many tokens from a text, the first at its begin and
// the last at its end, none over another. Each begins with what the model's texts
// begin with.
func passagesOf(ids, bos []int32, n, tokens int) ([][]int32, error) {
	own := tokens - len(bos)
	if len(ids)/n < own {
		return nil, fmt.Errorf("evaluate text: %d passages of %d tokens are more than the text's %d", n, tokens, len(ids))
	}
	var cut [][]int32
	for i := range n {
		at := (len(ids) - own) * i / max(n-1, 1)
		cut = append(cut, slices.Concat(bos, ids[at:at+own]))
	}
	return cut, nil
}

// Generation says which retrieval cases to make.
type Generation struct {
	Tasks   []string // empty = all
	Lengths []int    // tokens of a conversation
	Cases   int      // of each task and length
	Seed    int      // of the first case; the others follow
}

// messageTok and conversationTok are what the shipped model's chat template adds: tokens of a message
// and of a conversation.
const messageTok, conversationTok = 4, 1

// Generate makes retrieval cases whose lengths are counted by the model's
// tokenizer.
func (e Evaluation) Generate(g Generation, emit func(eval.Case) error) error {
	if len(g.Tasks) == 0 {
		g.Tasks = task.Names()
	}
	return e.open(func(m evaluated) error {
		count := func(s string) (int, error) { return len(m.tok.Encode(nil, s)), nil }
		for _, name := range g.Tasks {
			for _, n := range g.Lengths {
				for i := range g.Cases {
					c, err := task.Generate(task.Spec{Task: name, Tokens: n, Seed: uint64(g.Seed + i), MessageTokens: messageTok, ConversationTokens: conversationTok}, count)
					if err != nil {
						return err
					}
					if err := emit(c); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}
