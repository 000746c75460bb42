package offload

import "fmt"

// VGroup is the number of channels of one token's value that share a zero and
// a step.
const VGroup = 64

// runCodes is the codes that are packed together.
const runCodes = 32

// lineBytes is what records are padded to: the unit of a transfer over PCIe.
const lineBytes = 128

// Record is where things lie inside the stored form of Group tokens of one KV
// head. Keys share a zero and a step per channel over the group, values per
// token over VGroup channels.
//
//	K zeros [headDim] f16, K steps [headDim] f16
//	K codes [Group/PageTok] { [headDim, PageTok] codes }, or for groups of
//	  ColdTok tokens [headDim/2] { [2 channels, ColdTok] codes }
//	V zeros [Group, vGroups] f16, V steps [Group, vGroups] f16
//	V codes [Group, rowBytes]
//
// In F16 there are no zeros and steps, and the codes are the values: a record
// of PageTok tokens is then byte for byte that page of a [Layout]. Codes
// narrower than a byte are packed in runs of 32 neighbours, of which 16 unpack
// with one shift:
//
//	in 4 bits: byte j of a run's 16 holds codes j and j+16
//	in 2 bits: byte j of 8 holds codes j, j+8, j+16, j+24
//	in 1 bit: byte j of 4 holds codes j, j+4, ..., j+28
//
// A run is 32 tokens of a channel of K, or 16 tokens of two channels, or 32
// channels of a token of V. The last run is padded.
type Record struct {
	Elem    Elem
	Dim     int // headDim
	Group   int // tokens
	KScales int // byte offset of K zeros
	K       int // byte offset of K codes
	VScales int // byte offset of V zeros
	V       int // byte offset of V codes
	KRow    int // bytes of one run of K; in F16 of one channel
	VRow    int // bytes of one token
	Bytes   int // of the whole record, padded to whole lines
}

// NewRecord lays out the stored form of group tokens.
func NewRecord(dim, group int, e Elem) (Record, error) {
	if dim <= 0 || group <= 0 || group%PageTok != 0 && group != ColdTok || BlockTok%group != 0 || e == F32 {
		return Record{}, fmt.Errorf("lay out KV records: %d channels, groups of %d tokens in %s is not a valid record", dim, group, e)
	}
	r := Record{Elem: e, Dim: dim, Group: group, KRow: min(group, PageTok) * 2, VRow: dim * 2}
	if e.Exact() {
		r.VScales = group * dim * 2
		r.V = r.VScales
	} else {
		r.K = 2 * 2 * dim
		r.KRow = runCodes * e.KBits() / 8
		r.VRow = unitsFor(dim, runCodes) * runCodes * e.VBits() / 8
		r.VScales = r.K + r.KRuns()*r.KRow
		r.V = r.VScales + 2*2*group*r.VGroups()
	}
	end := r.V + group*r.VRow
	r.Bytes = (end + lineBytes - 1) / lineBytes * lineBytes
	return r, nil
}

// VGroups is the number of zeros of one token's value.
func (r Record) VGroups() int { return (r.Dim + VGroup - 1) / VGroup }

// KRuns is the number of runs of K codes.
func (r Record) KRuns() int {
	if r.Group == ColdTok {
		return (r.Dim + 1) / 2
	}
	return r.Group / PageTok * r.Dim
}

// KCode is where one channel of one token of K has its code: the run, and the
// place in it.
func (r Record) KCode(t, channel int) (run, at int) {
	if r.Group == ColdTok {
		return channel / 2, channel%2*ColdTok + t
	}
	return t/PageTok*r.Dim + channel, t % PageTok
}
