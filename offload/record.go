package offload

import "fmt"

// VGroup is the number of channels of one token's value that share a zero and
// a step.
const VGroup = 64

// lineBytes is what records are padded to: the unit of a transfer over PCIe.
const lineBytes = 128

// Record is where things lie inside the stored form of Group tokens of one KV
// head. Keys share a zero and a step per channel over the group, values per
// token over VGroup channels.
//
//	K zeros [headDim] f16, K steps [headDim]
//	K codes [kRuns][KRow bytes]
//	V zeros [Group, vGroups] f16, V steps [Group, vGroups]
//	V codes [Group, VRow bytes]
//
// Steps are f16, in cold pages bytes (StepOf). In F16 there are no zeros and
// steps, and the codes are the values: a record of PageTok tokens is then byte
// for byte that page of a [Layout]. Codes narrower than a byte are packed in
// runs, of which 16 neighbours unpack together:
//
//	in 6 bits: byte j of a run's 48 holds code j and, above it, two bits of
//	  code 48 + j%16, from bit 2(j/16) on
//	in 4 bits: byte j of 16 holds codes j and j+16
//	in 2 bits: byte j of 8 holds codes j, j+8, j+16, j+24
//	in 1 bit: byte j of 4 holds codes j, j+4, ..., j+28
//
// Records of single tokens that are fetched (Gathered) have the keys a second time,
// token by token, so that a row is one piece:
//
//	K rows [Group, headDim]
//
// A run of K is all tokens of a group or page of one channel, or of as many
// channels as fill it, of V 32 channels of a token. The last one is padded.
type Record struct {
	Elem    Elem
	Dim     int // headDim
	Group   int // tokens
	KScales int // byte offset of K zeros
	K       int // byte offset of K codes
	VScales int // byte offset of V zeros
	V       int // byte offset of V codes
	KRows   int // byte offset of K rows; 0 without
	KRow    int // bytes of one run of K; in F16 of one channel
	VRow    int // bytes of one token
	Bytes   int // of the whole record, padded to whole lines
}

// RunCodes is how many codes of so many bits are packed together.
func RunCodes(bits int) int {
	if bits == 6 {
		return 64
	}
	return 32
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
		r.K = (2 + r.StepBytes()) * dim
		r.KRow = RunCodes(e.KBits()) * e.KBits() / 8
		r.VRow = unitsFor(dim, RunCodes(e.VBits())) * RunCodes(e.VBits()) * e.VBits() / 8
		r.VScales = r.K + r.KRuns()*r.KRow
		r.V = r.VScales + (2+r.StepBytes())*group*r.VGroups()
	}
	end := r.V + group*r.VRow
	r.Bytes = (end + lineBytes - 1) / lineBytes * lineBytes
	return r, nil
}

// withRows is a record in F16 with its keys a second time.
func (r Record) withRows() Record {
	r.KRows = r.V + r.Group*r.VRow
	r.Bytes = (r.KRows + r.Group*r.Dim*2 + lineBytes - 1) / lineBytes * lineBytes
	return r
}

// Once is the bytes of K and V without a second copy.
func (r Record) Once() int {
	if r.KRows > 0 {
		return r.KRows
	}
	return r.Bytes
}

// StepBytes is the size of a step.
func (r Record) StepBytes() int {
	if r.Group == ColdTok {
		return 1
	}
	return 2
}

// KSteps is the byte offset of K steps.
func (r Record) KSteps() int { return r.KScales + 2*r.Dim }

// VSteps is the byte offset of V steps.
func (r Record) VSteps() int { return r.VScales + 2*r.Group*r.VGroups() }

// VGroups is the number of zeros of one token's value.
func (r Record) VGroups() int { return (r.Dim + VGroup - 1) / VGroup }

// runTokens is how many tokens of a channel stand side by side in a run of K.
func (r Record) runTokens() int { return min(r.Group, PageTok) }

// RunChannels is how many channels a run of K holds.
func (r Record) RunChannels() int { return RunCodes(r.Elem.KBits()) / r.runTokens() }

// KRuns is the number of runs of K codes.
func (r Record) KRuns() int {
	return r.Group / r.runTokens() * unitsFor(r.Dim, r.RunChannels())
}

// KCode is where one channel of one token of K has its code: the run, and the
// place in it.
func (r Record) KCode(t, channel int) (run, at int) {
	tok, ch := r.runTokens(), r.RunChannels()
	return t/tok*unitsFor(r.Dim, ch) + channel/ch, channel%ch*tok + t%tok
}
