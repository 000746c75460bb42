package portable

import (
	"bytes"
	"errors"
	"testing"
)

// sample is a small export.
func sample(t testing.TB) []byte {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, err := range []error{
		w.Describe(KindSession, Session{Title: "t", Fingerprint: []byte{1}, Messages: 1, Blocks: 1, Runs: 1, Tail: true}),
		w.Describe(KindMessage, Message{Role: "user", Body: 5, Tokens: 2}), w.Data([]byte("hello")), w.Data(make([]byte, 8)),
		w.Describe(KindBlocks, Blocks{Count: 1, Parts: []Part{{ID: 0, Size: 6}}}), w.Describe(KindTail, Tail{Parts: []Part{{ID: 0, Size: 3}}}),
		w.Data([]byte("blocks")), w.Data([]byte("end")), w.End(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// readSample reads what sample wrote.
func readSample(b []byte) (text string, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	data := func(n int64) {
		for p, e := range r.Data(n) {
			if e != nil {
				err = e
				return
			}
			text += string(p)
		}
	}
	var s Session
	var m Message
	var blocks Blocks
	var tail Tail
	for _, step := range []func(){
		func() { err = r.Describe(KindSession, &s) }, func() { err = r.Describe(KindMessage, &m) }, func() { data(5) }, func() { data(8) },
		func() { err = r.Describe(KindBlocks, &blocks) }, func() { err = r.Describe(KindTail, &tail) }, func() { data(6) }, func() { data(3) },
		func() { err = r.End() },
	} {
		if step(); err != nil {
			return "", err
		}
	}
	return text, nil
}

func TestRoundTrip(t *testing.T) {
	text, err := readSample(sample(t))
	if err != nil || text != "hello"+string(make([]byte, 8))+"blocksend" {
		t.Fatalf("%q %v", text, err)
	}
}

// TestEveryBitCounts: any bit, any end, any frame that is missing, doubled or
// exchanged is found.
func TestEveryBitCounts(t *testing.T) {
	whole := sample(t)
	refused := func(b []byte, what string, at int) {
		t.Helper()
		if _, err := readSample(b); !errors.Is(err, ErrFormat) && !errors.Is(err, ErrNewer) {
			t.Fatalf("%s %d: %v", what, at, err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		refused(b, "flipped a bit of byte", i)
		refused(whole[:i], "cut off at", i)
	}
	refused(append(bytes.Clone(whole), 0), "grown to", len(whole)+1)
	starts := frameStarts(whole)
	for i := range len(starts) - 1 {
		dropped := append(bytes.Clone(whole[:starts[i]]), whole[starts[i+1]:]...)
		refused(dropped, "dropped frame", i)
		doubled := append(bytes.Clone(whole[:starts[i+1]]), whole[starts[i]:]...)
		refused(doubled, "doubled frame", i)
	}
}

// frameStarts finds where frames begin, and the end.
func frameStarts(b []byte) []int {
	var starts []int
	for at := headBytes; at < len(b); {
		starts = append(starts, at)
		at += frameBytes + int(b[at+4]) + int(b[at+5])<<8
	}
	return append(starts, len(b))
}

func TestVersions(t *testing.T) {
	b := sample(t)
	b[8]++
	if _, err := readSample(b); !errors.Is(err, ErrNewer) {
		t.Fatal(err)
	}
}
