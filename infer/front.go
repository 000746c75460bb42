package infer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"edged/infer/chat"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/infer/tok"
)

// front is what requests need of a model before and while it is resident. It
// keeps nothing of the file open.
type front struct {
	name         string
	tok          *tok.Tokenizer
	chat         *chat.Template // nil when the file has no template
	vocab        int            // rows of the model's output, tokens
	trainContext int            // tokens
	width        int            // of a hidden state
	pooling      model.Pooling
	arch         string
	params       int64
	bytes        int64 // file size
	identity     [sha256.Size]byte
	grammars     grammars
}

// modelFile is an open model file with all that is made from it.
type modelFile struct {
	front *front
	prog  *graph.Program // points into the file
	close func() error
	// unchanged says that the file is still the one that prog points into.
	unchanged func() error
}

// openModel reads a GGUF file and refuses one that could not be served.
func openModel(path string) (*modelFile, error) {
	f, err := gguf.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w (models pull fetches known models)", err)
		}
		return nil, err
	}
	m, err := readModel(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read model %s: %w", path, err), f.Close())
	}
	return m, nil
}

func readModel(f *gguf.File) (m *modelFile, err error) {
	defer catch(&err) // before the file is closed
	prog, err := model.Build(f)
	if err != nil {
		return nil, err
	}
	t, err := tok.FromMetadata(f)
	if err != nil {
		return nil, err
	}
	if t.Size() > prog.Vocab {
		return nil, fmt.Errorf("the tokenizer has %d tokens, but the model's output has %d", t.Size(), prog.Vocab)
	}
	ft := &front{tok: t, vocab: prog.Vocab, trainContext: prog.Context, arch: prog.Name, bytes: f.Size(), identity: f.Identity()}
	ft.width = prog.Buffers[prog.States].Width
	if ft.pooling, err = model.PoolingOf(f); err != nil {
		return nil, err
	}
	for _, x := range f.Tensors() {
		n := int64(1)
		for _, d := range x.Dims {
			n *= int64(d)
		}
		ft.params += n
	}
	if src, ok := f.String("tokenizer.chat_template"); ok {
		if ft.chat, err = chat.New(src, chat.Options{BOS: t.Token(t.BOS()), EOS: t.Token(t.EOS()), Now: time.Now, Guard: guardText(t)}); err != nil {
			return nil, err
		}
	}
	return &modelFile{front: ft, prog: prog, close: f.Close, unchanged: f.Unchanged}, nil
}

// openModel opens the file of a configured model. What makes a parser panic is
// a bad file like any other: it costs its load, not the process.
func (e *Engine) openModel(name string) (mf *modelFile, err error) {
	defer func() {
		var p *panicError
		if errors.As(err, &p) {
			e.cfg.Logger.Error("panic in a model file's reader", "model", name, "panic", p.value, "stack", string(p.stack))
		}
	}()
	defer catch(&err)
	m, _ := e.cfg.model(name)
	if mf, err = e.open(m.Path); err != nil {
		return nil, err
	}
	mf.front.name = name
	return mf, nil
}

// front returns the front of a configured model, opening its file if nobody
// has since the last load.
func (e *Engine) front(name string) (*front, error) {
	if f := e.openFront(name); f != nil {
		return f, nil
	}
	// One at a time: ten requests for a new model must not read it ten times.
	e.opening.Lock()
	defer e.opening.Unlock()
	if f := e.openFront(name); f != nil {
		return f, nil
	}
	mf, err := e.openModel(name)
	if err != nil {
		return nil, fmt.Errorf("%w: open model %s: %w", ErrNotLoaded, name, err)
	}
	if err := mf.close(); err != nil {
		return nil, fmt.Errorf("open model %s: %w", name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fronts[name] = mf.front
	e.learn(mf.front, e.known[name].Context)
	return mf.front, nil
}

// learn remembers a model's figures for Models. e.mu is held.
func (e *Engine) learn(f *front, context int) {
	e.known[f.name] = ModelInfo{
		Context: context, Arch: f.arch, TrainContext: f.trainContext, Params: f.params, Bytes: f.bytes, Vocab: f.vocab, Chat: f.chat != nil,
	}
}

func (e *Engine) openFront(name string) *front {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fronts[name]
}
