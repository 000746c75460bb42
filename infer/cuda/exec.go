package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// exec is a compiled program.
type exec struct {
	backend *Backend
	prog    *graph.Program
	lim     graph.Limits

	weightMem arena
	weights   []weight

	bufMem  arena
	bufs    []array // [buffers]
	ropes   []ropeTable
	nodes   []node
	parts   []int                   // first nodes of the program's parts
	ahead   map[node]bool           // those that predict queries, which prompts do not need
	early   map[int]bool            // layers whose tokens are fetched in the layer before
	final   []node                  // in place of the last part, for states
	norms   map[graph.Buf]*normNode // while lowering: norms that products compute
	state   state
	tables  tables
	answer  []byte // page-locked float32: [MaxOut, vocab], or states [MaxRows, width]
	narrow  narrow
	staging *pinnedmem.Arena

	stagingAt driver.Ptr // where kernels see it

	// What nodes share, as large as the largest of them needs.
	halves        driver.Ptr // [MaxRows, maxK] float16
	factors       driver.Ptr // [MaxRows] float32
	unitFactors   driver.Ptr // [fewRows/8][maxUnits][8] float32
	unpacked      driver.Ptr // [unpackElems] float16
	gated         driver.Ptr // [MaxRows, gatedWidth] float32
	partial       driver.Ptr // [partialFloats] float32
	marked        driver.Ptr // [markedFloats] float32: nothing but pieces with marks
	ticketAt      driver.Ptr // [tickets] uint32, zero between launches
	tops          driver.Ptr // [topFloats] float32, of cold pages
	topSums       driver.Ptr // [topFloats/16][2] float32, of blocks
	tokenKeyAt    driver.Ptr // [tokenKeys] uint32
	maxK          int
	maxUnits      int // of tiles
	unpackElems   int64
	gatedWidth    int
	partialFloats int
	markedFloats  int
	tickets       int
	topFloats     int
	tokenKeys     int

	stage   stage
	waiting waiting
	cold    cold

	queue    queue
	endQueue func() error
	graphs   map[shape]driver.Graph
	batch    batch

	pool      *offload.Pool
	caches    []cache // [layers] of the pool
	work      span    // of the pool, where gathered tokens lie: so many bytes of a slot
	workBytes int
	locked    [][]byte
	ends      []int // [MaxSeqs] tokens of a step's sequences behind it
}

func (e *exec) build() error {
	if err := e.begun(); err != nil {
		return err
	}
	if err := e.weightMem.open(e.backend); err != nil {
		return err
	}
	var err error
	if e.queue, e.endQueue, err = e.backend.gpu.Queue(); err != nil {
		return err
	}
	// All memory is taken before the first weight is read.
	if err := e.planBuffers(); err != nil {
		return err
	}
	if err := e.bufMem.open(e.backend); err != nil {
		return e.whatFits(err)
	}
	e.state.place()
	if err := e.loadWeights(); err != nil {
		return err
	}
	return e.prepare()
}

// begun plans the weights.
func (e *exec) begun() error {
	e.norms, e.graphs, e.ahead, e.early = map[graph.Buf]*normNode{}, map[shape]driver.Graph{}, map[node]bool{}, map[int]bool{}
	e.weightMem.what, e.bufMem.what = "weights", "activations"
	e.caches, e.ends = make([]cache, len(e.prog.KV)), make([]int, e.lim.MaxSeqs)
	if err := e.checkPlans(); err != nil {
		return err
	}
	return e.planWeights()
}

// planBuffers lowers the program, which says how large what nodes share must be,
// and plans all memory of steps. Nodes hold addresses that are filled in once it is
// taken; those of weights are there already, but where only the size is wanted.
func (e *exec) planBuffers() error {
	e.bufs = make([]array, len(e.prog.Buffers))
	for i, b := range e.prog.Buffers {
		e.bufs[i] = array{name: b.Name, width: b.Width, rows: b.Rows}
		rows := e.lim.MaxRows
		if b.Rows == graph.OutRows {
			rows = e.lim.MaxOut
		}
		e.bufMem.want(&e.bufs[i].at, int64(rows)*int64(b.Width)*4)
	}
	e.ropes = make([]ropeTable, len(e.prog.Ropes))
	for i, r := range e.prog.Ropes {
		e.ropes[i] = ropeTable{pairs: len(r.InvFreq), scale: r.Scale, interleaved: r.Interleaved}
		e.bufMem.want(&e.ropes[i].at, int64(len(r.InvFreq))*8)
	}
	e.planCold()
	e.planWaiting()
	e.narrow.plan(e)
	if err := errors.Join(e.lower(), e.planStage()); err != nil {
		return err
	}
	rows := int64(max(e.lim.MaxRows, e.lim.MaxOut))
	e.bufMem.want(&e.halves, e.halvesBytes(int(rows)))
	e.bufMem.want(&e.factors, rows*4)
	e.bufMem.want(&e.unitFactors, int64(ceil(e.fewRows(), operandRows)*operandRows*e.maxUnits)*4)
	e.bufMem.want(&e.unpacked, e.unpackElems*2)
	e.bufMem.want(&e.gated, rows*int64(e.gatedWidth)*4)
	e.bufMem.want(&e.partial, int64(e.partialFloats)*4)
	e.bufMem.want(&e.marked, int64(e.markedFloats)*4)
	e.bufMem.want(&e.ticketAt, int64(e.tickets)*4)
	e.bufMem.want(&e.tops, int64(e.topFloats)*4)
	e.bufMem.want(&e.topSums, int64(e.topFloats/blockPages)*8)
	e.bufMem.want(&e.tokenKeyAt, int64(e.tokenKeys)*4)
	e.state.plan(e)
	e.tables.plan(e)
	return nil
}

// prepare takes staging memory and uploads what never changes.
func (e *exec) prepare() (err error) {
	if err := e.openWaiting(); err != nil {
		return err
	}
	if e.staging, err = e.lim.Host.Arena(pinnedmem.Activations, e.stagingBytes(), pinnedmem.Options{}); err != nil {
		return err
	}
	if e.stagingAt, err = e.backend.gpu.Register(e.staging.Bytes()); err != nil {
		return errors.Join(err, e.dropStaging())
	}
	if e.state.host, err = e.staging.Alloc(e.state.bytes(), alignBytes); err != nil {
		return err
	}
	if e.tables.host, err = e.staging.Alloc(e.tables.bytes(), alignBytes); err != nil {
		return err
	}
	if e.answer, err = e.staging.Alloc(e.answerBytes(), alignBytes); err != nil {
		return err
	}
	e.batch.reset()
	for i, r := range e.prog.Ropes {
		host, err := e.staging.Alloc(len(r.InvFreq)*8, alignBytes)
		if err != nil {
			return err
		}
		for j, f := range r.InvFreq {
			binary.NativeEndian.PutUint64(host[8*j:], math.Float64bits(f))
		}
		e.batch.copyIn(e.ropes[i].at, host)
	}
	e.batch.clear(e.ticketAt, int64(e.tickets)*4)
	if err := e.sendCold(); err != nil {
		return err
	}
	if err := e.narrow.prepare(e); err != nil {
		return err
	}
	e.tables.fill()
	e.batch.copyIn(e.tables.at, e.tables.host)
	if err := e.queue.Run(e.batch.cmds); err != nil {
		return err
	}
	return e.queue.Wait()
}

// stagingBytes is the page-locked host memory that steps need.
func (e *exec) stagingBytes() int64 {
	n := e.state.bytes() + e.tables.bytes() + e.answerBytes() + e.coldBytes() + e.narrow.bytes() + 4*alignBytes
	for _, r := range e.prog.Ropes {
		n += len(r.InvFreq)*8 + alignBytes
	}
	return int64(n)
}

// answerBytes is the most that a step brings back.
func (e *exec) answerBytes() int {
	n := e.lim.MaxOut * e.prog.Vocab * 4
	if len(e.prog.Final) > 0 {
		n = max(n, e.lim.MaxRows*e.bufs[e.prog.States].width*4)
	}
	return n
}

// dropStaging closes staging memory that could not be locked.
func (e *exec) dropStaging() error {
	err := e.staging.Close()
	e.staging = nil
	return err
}

// Close gives everything back.
func (e *exec) Close() error {
	var errs []error
	if e.queue != nil {
		errs = append(errs, e.queue.Wait(), e.dropGraphs(), e.endQueue())
		e.queue = nil
	}
	errs = append(errs, e.unbind(), e.weightMem.close(e.backend.gpu), e.bufMem.close(e.backend.gpu), e.closeWaiting())
	if e.staging != nil {
		errs = append(errs, e.backend.gpu.Unregister(e.staging.Bytes()), e.dropStaging())
	}
	return errors.Join(errs...)
}

func (e *exec) dropGraphs() error {
	var errs []error
	for s, g := range e.graphs {
		errs = append(errs, e.queue.Drop(g))
		delete(e.graphs, s)
	}
	return errors.Join(errs...)
}

// floatBytes is a view of v's bytes.
func floatBytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// live refuses sequences that have been freed.
func live(kv []*offload.Seq) error {
	for i, s := range kv {
		if s.Pool() == nil {
			return fmt.Errorf("%w: sequence %d is freed", errPool, i)
		}
	}
	return nil
}
