package infer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"edged/infer/chat"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/infer/sample"
	"edged/infer/tok"
	"edged/offload"
)

// The toy model: 256 byte tokens and a few more. Its next token depends, by a
// hash, on every token before it, and the hash of a position is kept in the KV
// pages and nowhere else: a wrong page, position or prefix changes the answer.
const (
	toyBOS = 256 + iota
	toyEnd
	toyUser
	toyAssistant
	toyAB // "ab", so that there is a merge
	toyVocab
)

const toyWidth = 4 // of a state

const toyTemplate = `{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}`

type toyMetadata struct{}

func (toyMetadata) String(key string) (string, bool) {
	v, ok := map[string]string{"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2"}[key]
	return v, ok
}

func (toyMetadata) Uint(key string) (uint64, bool) {
	v, ok := map[string]uint64{"tokenizer.ggml.bos_token_id": toyBOS, "tokenizer.ggml.eos_token_id": toyEnd}[key]
	return v, ok
}

func (toyMetadata) Bool(key string) (bool, bool) {
	ok := key == "tokenizer.ggml.add_bos_token"
	return ok, ok
}

func (toyMetadata) Strings(key string) ([]string, bool) {
	switch key {
	case "tokenizer.ggml.merges":
		return []string{"a b"}, true
	case "tokenizer.ggml.tokens":
		var pieces []string
		next := rune(0x100)
		for b := range rune(256) { // GPT-2's printable spelling of bytes
			if '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b {
				pieces = append(pieces, string(b))
			} else {
				pieces = append(pieces, string(next))
				next++
			}
		}
		return append(pieces, "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "ab"), true
	}
	return nil, false
}

func (toyMetadata) Floats(string) ([]float32, bool) { return nil, false }

func (toyMetadata) Ints(key string) ([]int32, bool) {
	types := make([]int32, toyVocab)
	for i := range types {
		types[i] = 1
	}
	for _, control := range []int{toyBOS, toyEnd, toyUser, toyAssistant} {
		types[control] = 3
	}
	return types, key == "tokenizer.ggml.token_type"
}

// toyProgram describes the toy to the engine; the toy backend does not run
// its ops.
func toyProgram(context int) *graph.Program {
	p := &graph.Program{
		Name: "toy", Vocab: toyVocab, Context: context, Logits: 1,
		Buffers: []graph.Buffer{
			{Name: "hidden", Width: toyWidth, Rows: graph.OutRows}, {Name: "logits", Width: toyVocab, Rows: graph.OutRows}, {Name: "state", Width: toyWidth, Rows: graph.AllRows},
		},
		KV:      []offload.LayerSpec{{KVHeads: 1, HeadDim: 8}, {KVHeads: 2, HeadDim: 4}},
		Weights: []graph.Weight{{Name: "w", N: toyVocab, K: toyWidth, Data: make([]byte, 64)}, {Name: "norm", N: 1, K: toyWidth, Data: make([]byte, 4*toyWidth)}},
	}
	op := graph.Linear{Parts: []graph.Part{{Dst: 1, Bias: graph.NoWeight}}}
	p.Ops, p.Parts, p.Hidden = []graph.Op{op, op, op}, []int{0, 1, 2}, 2
	p.Final, p.States = []graph.Op{graph.RMSNorm{Dst: 2, Src: 2, W: 1}}, 2
	return p
}

// toyOpen serves every path but "missing"; "plain" has no chat template.
func toyOpen(context int) func(string) (*modelFile, error) {
	return func(path string) (*modelFile, error) {
		if path == "missing" {
			return nil, errors.New("no such toy")
		}
		t, err := tok.FromMetadata(toyMetadata{})
		if err != nil {
			return nil, err
		}
		f := &front{tok: t, vocab: toyVocab, width: toyWidth, pooling: model.PoolMean, trainContext: context, arch: "toy", params: 4 * toyVocab, bytes: 64}
		if path != "plain" {
			if f.chat, err = chat.New(toyTemplate, chat.Options{BOS: "<|bos|>", Guard: guardText(t)}); err != nil {
				return nil, err
			}
		}
		return &modelFile{front: f, prog: toyProgram(context), close: func() error { return nil }, unchanged: func() error { return nil }}, nil
	}
}

// toyBackend computes the toy. Its hooks may be nil.
type toyBackend struct {
	compile func() error
	step    func(ctx context.Context, rows *graph.Rows) error
	say     func(pos int) int32 // the token that follows a position
	narrow  func(whole int)     // rows are narrowed, and the whole ones that were brought all the same told of
	apart   bool                // no step may both read and answer
}

func (b *toyBackend) Close() error { return nil }

func (b *toyBackend) Compile(p *graph.Program, l graph.Limits) (graph.Exec, error) {
	if err := errors.Join(p.Validate(), l.Validate()); err != nil {
		return nil, err
	}
	if b.compile != nil {
		if err := b.compile(); err != nil {
			return nil, err
		}
	}
	l.Loaded(64, 64)
	return &toyExec{b: b, prog: p, lim: l, logits: make([]float32, l.MaxOut*toyVocab), states: make([]float32, l.MaxRows*toyWidth)}, nil
}

type toyExec struct {
	b      *toyBackend
	prog   *graph.Program
	lim    graph.Limits
	logits []float32
	states []float32
}

func (e *toyExec) Close() error { return nil }

func (e *toyExec) ReadsApart() bool { return e.b.apart }

func (e *toyExec) Step(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) (graph.Logits, error) {
	if err := rows.Check(e.prog, e.lim, kv); err != nil {
		return graph.Logits{}, err
	}
	if e.b.step != nil {
		if err := e.b.step(ctx, rows); err != nil {
			return graph.Logits{}, err
		}
	}
	out := 0
	for i, id := range rows.Tok {
		seq, pos := kv[rows.Seq[i]], int(rows.Pos[i])
		state := uint64(0)
		if pos > 0 {
			var err error
			if state, err = toyLoad(seq, pos-1); err != nil {
				return graph.Logits{}, err
			}
		}
		state = toyMix(state, id)
		for l := range 2 {
			binary.LittleEndian.PutUint64(toySlot(seq, l, pos), state)
		}
		toyState(e.states[i*toyWidth:][:toyWidth], state)
		if out < len(rows.Out) && int(rows.Out[out]) == i {
			toyLogits(e.logits[out*toyVocab:][:toyVocab], state)
			if e.b.say != nil {
				e.logits[out*toyVocab+int(e.b.say(pos))] = 100
			}
			out++
		}
	}
	if rows.States {
		return graph.Logits{Data: e.states[:len(rows.Tok)*toyWidth], Width: toyWidth, Stride: toyWidth}, nil
	}
	l := graph.Logits{Data: e.logits[:out*toyVocab], Width: toyVocab, Stride: toyVocab}
	if e.b.narrow != nil && len(rows.Ask) > 0 {
		return e.narrow(l, rows.Ask), nil
	}
	return l, nil
}

// narrow takes rows away that were not asked for whole, until they are brought.
func (e *toyExec) narrow(l graph.Logits, asks []*sample.Ask) graph.Logits {
	kept := slices.Clone(l.Data)
	for i, a := range asks {
		l.Narrow = append(l.Narrow, nil)
		if a != nil {
			l.Narrow[i] = &sample.Narrow{}
			l.Narrow[i].Fill(a, l.Row(i))
			clear(l.Row(i))
		}
	}
	l.Fetch = func(i int) error {
		e.b.narrow(1)
		copy(l.Row(i), kept[i*toyVocab:])
		return nil
	}
	return l
}

func (e *toyExec) Part(context.Context, int, *graph.Rows, *offload.Seq) (graph.Logits, error) {
	return graph.Logits{}, errors.New("the toy's cache is exact")
}

// toySlot is where a layer's page keeps the state of a position: 8 bytes of
// the first head's values.
func toySlot(seq *offload.Seq, layer, pos int) []byte {
	l := seq.Pool().Memory(layer).Pages
	page := seq.Pool().Page(layer, seq.Table(layer)[pos/offload.PageTok])
	return page[l.VOffset(0)+pos%offload.PageTok*l.Spec.HeadDim*l.Elem.VBits()/8:][:8]
}

func toyLoad(seq *offload.Seq, pos int) (uint64, error) {
	a, b := binary.LittleEndian.Uint64(toySlot(seq, 0, pos)), binary.LittleEndian.Uint64(toySlot(seq, 1, pos))
	if a != b {
		return 0, fmt.Errorf("layers disagree at position %d: %x, %x", pos, a, b)
	}
	return a, nil
}

func toyMix(state uint64, id int32) uint64 {
	state = (state ^ uint64(id+1)) * 0x9e3779b97f4a7c15
	return state ^ state>>29
}

// toyState is what the toy's states are at a position.
func toyState(row []float32, state uint64) {
	for c := range row {
		row[c] = float32(int8(state >> (8 * c)))
	}
}

// toyLogits prefers a lower-case letter or a space, and ends the turn once in
// 64 tokens or so.
func toyLogits(row []float32, state uint64) {
	for i := range row {
		row[i] = -20
	}
	for i := range 26 {
		row['a'+i] = float32(toyMix(state, int32(i))>>40) / (1 << 22) // 0..4
	}
	row[' '] = 1
	if state%64 == 0 {
		row[toyEnd] = 10
	}
}

// toyAnswer is what greedy decoding of the toy gives after ids: at most max
// tokens, an end token included, and no further than the context.
func toyAnswer(ids []int32, max, context int, end bool) []int32 {
	state := uint64(0)
	for _, id := range ids {
		state = toyMix(state, id)
	}
	var out []int32
	row := make([]float32, toyVocab)
	for n := len(ids); n < context && (max == 0 || len(out) < max); n++ {
		toyLogits(row, state)
		if !end {
			row[toyEnd] = -20
		}
		id, _ := best(row)
		out = append(out, id)
		if id == toyEnd {
			break
		}
		state = toyMix(state, id)
	}
	return out
}

// toyText is the text of toy tokens.
func toyText(ids []int32) string {
	var b []byte
	for _, id := range ids {
		if id < 256 {
			b = append(b, byte(id))
		}
	}
	return string(b)
}

// noEnd bans the toy's end token.
func noEnd() sample.Params { return sample.Params{LogitBias: map[int32]float32{toyEnd: -100}} }

const toyContext = 1024 // well above what a caller may leave unread twice

func toyConfig() Config {
	return Config{
		Models:  []ModelConfig{{Name: "toy", Path: "toy"}, {Name: "other", Path: "plain"}, {Name: "bad", Path: "missing"}},
		Backend: "toy", Threads: 1, ChunkTok: 16, MaxSeqs: 3, MaxQueue: 4, CacheSeqs: 3, HostBytes: 1 << 26,
	}
}

// newToy makes an engine whose owner does not run.
func newToy(t testing.TB, cfg Config, b *toyBackend) *Engine {
	t.Helper()
	e, err := newEngine(cfg, toyOpen(toyContext), func(string) (graph.Backend, error) { return b, nil })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// startToy makes a running engine with a resident model.
func startToy(t testing.TB, cfg Config, b *toyBackend) *Engine {
	t.Helper()
	e := newToy(t, cfg, b)
	run(t, e)
	loadDefault(t, e)
	return e
}

// run runs an engine until the test's end.
func run(t testing.TB, e *Engine) {
	t.Helper()
	go e.owner.run()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// loadDefault makes an engine's default model resident.
func loadDefault(t testing.TB, e *Engine) {
	t.Helper()
	if err := e.Load(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
}

func prompt(ids ...int32) *Prompt { return &Prompt{Tokens: ids} }

// longPrompt is n tokens that begin with the same ones for equal tags.
func longPrompt(tag, n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((tag*31 + i*7 + i*i%13) % 256)
	}
	return ids
}

// collect answers a request and returns its text.
func collect(ctx context.Context, e *Engine, req *Request) (string, Result, error) {
	var text []byte
	res, err := e.Generate(ctx, req, func(d Delta) error {
		text = append(text, d.Text...)
		return nil
	})
	return string(text), res, err
}
