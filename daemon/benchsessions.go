package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"edged/infer"
	"edged/infer/bench"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
	"edged/store"
)

// SessionBench measures how long durable sessions take: one of random keys and
// values of a model's shape, and a store of many.
type SessionBench struct {
	Dir      string // in which a folder is made, and removed afterwards
	Layers   int
	KVHeads  int
	HeadDim  int
	Policy   string
	Options  offload.Options
	Backend  string // in whose memory the cache lies
	Tokens   int    // of the session
	Sessions int    // that the store of many holds
	// Progress says what is measured next; may be nil.
	Progress func(string)
}

// Rate is bytes moved in a time, and the same in plain ways in the same run.
type Rate struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Plain   []Plain `json:"plain"`
}

// Plain is a plain way to move the bytes of a Rate.
type Plain struct {
	What    string  `json:"what"`
	Seconds float64 `json:"seconds"`
}

// Share is how fast the rate is beside a plain way.
func (r Rate) Share(p Plain) float64 { return p.Seconds / r.Seconds }

// SessionReport is what a SessionBench has measured.
type SessionReport struct {
	Cache    string  `json:"cache"`
	Tokens   int     `json:"tokens"`
	Payload  int64   `json:"payload_bytes"`
	Exact    int64   `json:"exact_bytes"`   // of an f16 cache of as many tokens
	Claim    float64 `json:"claim_seconds"` // that the engine stands still for a turn's end
	Wake     float64 `json:"wake_seconds"`  // and for a restore: for memory before it, for the sequence after it, the longer
	Write    Rate    `json:"write"`
	Amplify  float64 `json:"write_amplification"` // bytes of files by bytes of payload
	Turn     Rate    `json:"turn"`                // of one more block of tokens
	FromRAM  Rate    `json:"from_page_cache"`
	FromDisk Rate    `json:"from_disk"`
	Sessions int     `json:"sessions"`
	Open     float64 `json:"open_seconds"`
	List     float64 `json:"list_seconds"`
}

// Run measures.
func (b SessionBench) Run(ctx context.Context) (r SessionReport, err error) {
	dir, err := os.MkdirTemp(b.Dir, "edged-bench-")
	if err != nil {
		return r, fmt.Errorf("bench sessions: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := b.one(ctx, dir, &r); err != nil {
		return r, fmt.Errorf("bench sessions: %w", err)
	}
	if err := b.many(ctx, filepath.Join(dir, "many"), &r); err != nil {
		return r, fmt.Errorf("bench sessions: %w", err)
	}
	return r, nil
}

func (b SessionBench) say(what string) {
	if b.Progress != nil {
		b.Progress(what)
	}
}

// one measures a session of b.Tokens.
func (b SessionBench) one(ctx context.Context, dir string, r *SessionReport) (err error) {
	host := pinnedmem.NewHost(0)
	tiers := offload.One(host)
	backend, err := infer.NewBackend(b.Backend)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	if d, ok := backend.(graph.DeviceMemory); ok {
		tiers = offload.Tiers{Fast: d.Memory(0), Host: host, Mover: d.Mover()}
	}
	pool, err := b.pool(tiers, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close(), host.Close()) }()
	s, err := store.Open(ctx, store.Options{Dir: filepath.Join(dir, "one")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l := library{user: s.User(uint32(os.Getuid())), key: store.Key{Fingerprint: []byte(pool.Format()), Policy: b.Policy}}
	if err := l.create(); err != nil {
		return err
	}
	plain := filepath.Join(dir, "plain")
	if err := b.written(ctx, s, &l, pool, plain, r); err != nil {
		return err
	}
	if err := b.restored(ctx, &l, pool, chunkFiles(filepath.Join(dir, "one")), r); err != nil {
		return err
	}
	return b.turned(ctx, &l, pool, plain, r)
}

// written measures how a session's first turn is stored.
func (b SessionBench) written(ctx context.Context, s *store.Store, l *library, pool *offload.Pool, plain string, r *SessionReport) error {
	seq, err := grow(pool, nil, b.Tokens)
	if err != nil {
		return err
	}
	defer seq.Free()
	b.say("writing a session")
	if r.Write, r.Claim, err = l.save(ctx, seq); err != nil {
		return err
	}
	stat, err := s.Stat()
	if err != nil {
		return err
	}
	r.Payload, r.Amplify = stat.Payload, float64(stat.ChunkDisk+stat.IndexDisk)/float64(stat.Payload)
	b.say("writing a plain file")
	return r.Write.plainWrite(plain)
}

// restored measures how it comes back from its files, and leaves it in l.seq.
func (b SessionBench) restored(ctx context.Context, l *library, pool *offload.Pool, files []string, r *SessionReport) (err error) {
	b.say("restoring from the page cache")
	if r.FromRAM, err = l.restoreCached(ctx, pool, files); err != nil {
		return err
	}
	r.Wake = l.wake.Seconds()
	b.say("restoring from the disk")
	if err := dropCached(files); err != nil {
		return err
	}
	if r.FromDisk, err = l.restore(ctx, pool); err != nil {
		return err
	}
	if err := dropCached(files); err != nil {
		return err
	}
	return r.FromDisk.plainRead("the same files, read one after the other", files, 1)
}

// turned measures how one more turn is stored.
func (b SessionBench) turned(ctx context.Context, l *library, pool *offload.Pool, plain string, r *SessionReport) error {
	b.say("writing one more turn")
	seq, err := grow(pool, l.seq, store.BlockTok)
	if err != nil {
		return err
	}
	defer seq.Free()
	if r.Turn, _, err = l.save(ctx, seq); err != nil {
		return err
	}
	return r.Turn.plainWrite(plain)
}

// rounds is how often what depends on the memory's speed is measured: others on the
// machine change that from one second to the next.
const rounds = 5

// restoreCached restores, copies in memory and reads the files, in turns. It gives the medians, and
// leaves the longest wait in l.wake.
func (l *library) restoreCached(ctx context.Context, pool *offload.Pool, files []string) (Rate, error) {
	var took []Rate
	var wake time.Duration
	for range rounds {
		r, err := l.restore(ctx, pool)
		if err != nil {
			return r, err
		}
		wake = max(wake, l.wake)
		r.plainCopy(1)
		n := runtime.GOMAXPROCS(0)
		if n > 1 {
			r.plainCopy(n)
		}
		if err := r.plainRead(fmt.Sprintf("the same files, read on %d thread(s)", n), files, n); err != nil {
			return r, err
		}
		took = append(took, r)
	}
	l.wake = wake
	return medians(took), nil
}

// medians is the median of each time. The same was measured in the same order each
// time.
func medians(took []Rate) Rate {
	of := func(seconds func(Rate) float64) float64 {
		var x []float64
		for _, r := range took {
			x = append(x, seconds(r))
		}
		return bench.Median(x)
	}
	m := Rate{Bytes: took[0].Bytes, Seconds: of(func(r Rate) float64 { return r.Seconds })}
	for i, p := range took[0].Plain {
		m.Plain = append(m.Plain, Plain{p.What, of(func(r Rate) float64 { return r.Plain[i].Seconds })})
	}
	return m
}

// pool makes a cache for the session, full of random bytes.
func (b SessionBench) pool(tiers offload.Tiers, r *SessionReport) (*offload.Pool, error) {
	layers := make([]offload.LayerSpec, b.Layers)
	for i := range layers {
		layers[i] = offload.LayerSpec{KVHeads: b.KVHeads, HeadDim: b.HeadDim}
	}
	plan, err := offload.MakePlan(offload.Ask{Layers: layers, Policy: b.Policy, Options: b.Options, Context: b.Tokens + 2*store.BlockTok})
	if err != nil {
		return nil, err
	}
	r.Cache, r.Tokens, r.Exact = plan.Resolved, b.Tokens, offload.ExactBytes(layers, b.Tokens)
	b.say("filling a cache")
	pool, err := offload.NewPool(tiers, plan.Config)
	if err != nil {
		return nil, err
	}
	if err := fillAtRandom(pool); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return pool, nil
}

// fillAtRandom writes what tokens will find written.
func fillAtRandom(p *offload.Pool) error {
	rng, buf := rand.NewChaCha8([32]byte{1}), make([]byte, 1<<20)
	for i := range p.Layers() {
		m := p.Memory(i)
		for _, mem := range [][]byte{m.Units, m.Indexes, m.Tails} {
			for to := range slices.Chunk(mem, len(buf)) {
				_, _ = rng.Read(buf[:len(to)]) // it never fails
				if err := p.Move([]offload.Pair{{Dst: to, Src: buf[:len(to)]}}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// grow counts n tokens as held, of a new sequence where there is none.
func grow(pool *offload.Pool, seq *offload.Seq, n int) (_ *offload.Seq, err error) {
	if seq == nil {
		if seq, err = pool.NewSeq(); err != nil {
			return nil, err
		}
	}
	for range n {
		if err := errors.Join(seq.Reserve(1), seq.Commit(1)); err != nil {
			return nil, err
		}
	}
	return seq, nil
}

// many measures a store of many sessions.
func (b SessionBench) many(ctx context.Context, dir string, r *SessionReport) error {
	if b.Sessions == 0 {
		return nil
	}
	b.say(fmt.Sprintf("making %d sessions", b.Sessions))
	s, err := store.Open(ctx, store.Options{Dir: dir})
	if err != nil {
		return err
	}
	u := s.User(uint32(os.Getuid()))
	for i := range b.Sessions {
		if _, err := u.Create(store.New{Title: fmt.Sprintf("session %d", i), Model: "none"}); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	b.say("opening the store")
	begun := time.Now()
	if s, err = store.Open(ctx, store.Options{Dir: dir}); err != nil {
		return err
	}
	r.Sessions, r.Open = b.Sessions, time.Since(begun).Seconds()
	begun = time.Now()
	list, err := s.User(uint32(os.Getuid())).List(store.Filter{})
	r.List = time.Since(begun).Seconds()
	if err == nil && len(list) != b.Sessions {
		err = fmt.Errorf("%d sessions are listed of %d", len(list), b.Sessions)
	}
	return errors.Join(err, s.Close())
}

// library is one session in a store.
type library struct {
	user store.User
	key  store.Key
	sess store.Session
	seq  *offload.Seq  // that restore has left
	wake time.Duration // the longest that a pool's owner was busy with it
}

func (l *library) create() (err error) {
	l.sess, err = l.user.Create(store.New{Title: "bench", Model: "none", Key: l.key})
	return err
}

// save stores what is new of a sequence, as a turn does, and says how long the
// sequence's owner was busy with it.
func (l *library) save(ctx context.Context, seq *offload.Seq) (r Rate, claim float64, err error) {
	begun := time.Now()
	h, err := seq.Hold()
	if err != nil {
		return r, 0, err
	}
	claim = time.Since(begun).Seconds()
	defer h.Release()
	turn := store.Turn{After: l.sess.Messages, Messages: []store.Message{{Role: "user", Tokens: make([]int32, seq.Len()-l.sess.Tokens)}}, Tail: storePayload(h.Tail())}
	for i := l.sess.Blocks; i < h.Blocks(); i++ {
		turn.Blocks = append(turn.Blocks, store.Block{Provenance: store.Decoded, Parts: storePayload(h.Block(i))})
	}
	for _, p := range turn.Tail {
		r.Bytes += p.Size
	}
	for _, b := range turn.Blocks {
		for _, p := range b.Parts {
			r.Bytes += p.Size
		}
	}
	begun = time.Now()
	l.sess, err = l.user.Commit(ctx, l.sess.ID, turn)
	r.Seconds = time.Since(begun).Seconds()
	return r, claim, err
}

// restore brings the session back, in place of the one that it left before.
func (l *library) restore(ctx context.Context, pool *offload.Pool) (r Rate, err error) {
	if l.seq != nil {
		l.seq.Free()
	}
	begun := time.Now()
	snap, err := l.user.Restore(l.sess.ID, l.key)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	l.seq, r.Bytes, l.wake, err = readBack(ctx, snap, pool)
	r.Seconds = time.Since(begun).Seconds()
	return r, err
}

// readBack makes the sequence of a snapshot in a pool, and says how many bytes
// that took, and how long the pool's owner was busy at once: with claiming memory, or
// with giving the sequence out.
func readBack(ctx context.Context, snap *store.Snapshot, pool *offload.Pool) (seq *offload.Seq, bytes int64, wake time.Duration, err error) {
	var state [][]byte
	err = snap.Fill(ctx, math.MaxInt, func(x store.Span) ([]store.Target, error) { // the tail alone
		if x.Part != offload.StatePart {
			return nil, nil
		}
		state = append(state, make([]byte, x.Size))
		return []store.Target{{Mem: state[len(state)-1]}}, nil
	})
	if err != nil {
		return nil, 0, 0, err
	}
	begun := time.Now()
	to, err := pool.BeginRestore(slices.Concat(state...))
	if err != nil {
		return nil, 0, 0, err
	}
	wake = time.Since(begun)
	defer to.Cancel()
	err = snap.Fill(ctx, 0, func(x store.Span) ([]store.Target, error) {
		if x.Block == store.TailBlock && x.Part == offload.StatePart {
			return nil, nil
		}
		bytes += x.Size
		if x.Block == store.TailBlock {
			return storeTargets(to.PlaceTail(x.Part, x.Off, x.Size))
		}
		return storeTargets(to.PlaceBlock(x.Block, x.Part, x.Off, x.Size))
	})
	if err != nil {
		return nil, 0, 0, err
	}
	begun = time.Now()
	seq, err = to.Finish()
	return seq, bytes, max(wake, time.Since(begun)), err
}
