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
//	K zeros [headDim] f16, K steps [headDim] f16
//	K codes [Group/PageTok] { [headDim, PageTok] codes }
//	V zeros [Group, vGroups] f16, V steps [Group, vGroups] f16
//	V codes [Group, rowBytes]
//
// In F16 there are no zeros and steps, and the codes are the values: a record
// of one page is then byte for byte that page of a [Layout]. Codes narrower
// than a byte are packed so that 16 neighbours unpack with one shift:
//
//	K in 4 bits: byte j of a channel's 16 holds tokens j and j+16
//	K in 2 bits: byte j of 8 holds tokens j, j+8, j+16, j+24
//	K in 1 bit: byte j of 4 holds tokens j, j+4, ..., j+28
//	V: the same over each run of 32 channels; the last run is padded
type Record struct {
	Elem    Elem
	Dim     int // headDim
	Group   int // tokens
	KScales int // byte offset of K zeros
	K       int // byte offset of K codes
	VScales int // byte offset of V zeros
	V       int // byte offset of V codes
	KRow    int // bytes of one channel of one page
	VRow    int // bytes of one token
	Bytes   int // of the whole record, padded to whole lines
}

// NewRecord lays out the stored form of group tokens.
func NewRecord(dim, group int, e Elem) (Record, error) {
	if dim <= 0 || group <= 0 || group%PageTok != 0 || BlockTok%group != 0 || e == F32 {
		return Record{}, fmt.Errorf("lay out KV records: %d channels, groups of %d tokens in %s is not a valid record", dim, group, e)
	}
	r := Record{Elem: e, Dim: dim, Group: group, KRow: PageTok * e.Bits() / 8, VRow: dim * 2}
	if e.Exact() {
		r.VScales = group * dim * 2
		r.V = r.VScales
	} else {
		r.K = 2 * 2 * dim
		r.VRow = (dim + 31) / 32 * 32 * e.Bits() / 8
		r.VScales = r.K + group/PageTok*dim*r.KRow
		r.V = r.VScales + 2*2*group*r.VGroups()
	}
	end := r.V + group*r.VRow
	r.Bytes = (end + lineBytes - 1) / lineBytes * lineBytes
	return r, nil
}

// VGroups is the number of zeros of one token's value.
func (r Record) VGroups() int { return (r.Dim + VGroup - 1) / VGroup }

// Pages is the number of pages in a record.
func (r Record) Pages() int { return r.Group / PageTok }
