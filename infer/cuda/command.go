package cuda

import (
	"fmt"
	"slices"
	"strings"

	"edged/cudakern"
	"edged/cudakern/driver"
)

type kind uint8

const (
	launchKernel kind = iota
	copyIn            // from page-locked host memory
	copyOut           // to it
	fillBytes         // with zeros
)

// command is one entry of a step's list.
type command struct {
	kind        kind
	kernel      string
	grid, block driver.Dim
	shared      int // bytes
	args        []byte
	alone       []byte // in place of args where the kernel runs without those in front of it, or nil
	uses        []span // what the kernel reads and writes, for checks
	overlap     bool   // may begin before the command in front has ended
	beside      bool   // runs beside what comes behind it, see branch.go
	joins       bool   // waits for what runs beside

	dst, src driver.Ptr
	host     []byte
	bytes    int64
}

// span is device memory that a command touches.
type span struct {
	name  string
	at    driver.Ptr
	bytes int64
	write bool
	early bool // read before the command in front has ended
}

func (c command) String() string {
	switch c.kind {
	case copyIn:
		return fmt.Sprintf("copy %d bytes to the device", len(c.host))
	case copyOut:
		return fmt.Sprintf("copy %d bytes from the device", len(c.host))
	case fillBytes:
		return fmt.Sprintf("clear %d bytes", c.bytes)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s <%dx%dx%d, %d, %d>", c.kernel, max(c.grid.X, 1), max(c.grid.Y, 1), max(c.grid.Z, 1), c.block.X, c.shared)
	for _, u := range c.uses {
		mark := ""
		if u.write {
			mark = "*"
		}
		fmt.Fprintf(&b, " %s%s", u.name, mark)
	}
	return b.String()
}

// batch collects commands.
type batch struct{ cmds []command }

func (b *batch) reset() { b.cmds = b.cmds[:0] }

// launch appends a kernel with its parameters, one of cudakern's structs.
func (b *batch) launch(kernel string, grid driver.Dim, threads, shared int, args any, uses ...span) {
	if grid.X <= 0 || grid.Y < 0 || grid.Z < 0 {
		return
	}
	b.cmds = append(b.cmds, command{kernel: kernel, grid: grid, block: driver.Dim{X: threads}, shared: shared, args: cudakern.Pack(args), uses: uses, overlap: true})
}

// follows gives the last kernel other parameters where those in front of it run too: it looks at
// what they write before they end.
func (b *batch) follows(args any) {
	c := &b.cmds[len(b.cmds)-1]
	c.alone, c.args = c.args, cudakern.Pack(args)
}

func (b *batch) copyIn(dst driver.Ptr, host []byte) {
	b.cmds = append(b.cmds, command{kind: copyIn, dst: dst, host: host})
}

func (b *batch) copyOut(host []byte, src driver.Ptr) {
	b.cmds = append(b.cmds, command{kind: copyOut, src: src, host: host})
}

func (b *batch) clear(dst driver.Ptr, bytes int64) {
	b.cmds = append(b.cmds, command{kind: fillBytes, dst: dst, bytes: bytes})
}

// byThemselves are commands without those in front of them.
func byThemselves(cmds []command) []command {
	cmds = slices.Clone(cmds)
	for i := range cmds {
		if cmds[i].alone != nil {
			cmds[i].args = cmds[i].alone
		}
	}
	cmds[0].overlap = false
	return cmds
}

// order lets kernels behind a copy wait for it: they overlap kernels alone, of their own
// stream.
func (b *batch) order() {
	own := 0 // the last that did not run beside
	for i := 1; i < len(b.cmds); i++ {
		c, front := &b.cmds[i], &b.cmds[i-1]
		if c.beside && !front.beside || c.joins || front.kind != launchKernel || !c.beside && b.cmds[own].kind != launchKernel {
			c.overlap = false
		}
		if !c.beside {
			own = i
		}
	}
}

func ceil(n, by int) int { return (n + by - 1) / by }

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
