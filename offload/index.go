package offload

// IndexPlanes are the widths of the key codes that dominant pages are chosen
// by: the channels of a block that move attention scores most, by the
// deviation of their keys times the size of their queries, get four bits, the
// next ones two, and the others none but their page's mean. Scores hang on few
// channels (arXiv:2505.19586, section 4.2).
var IndexPlanes = [...]IndexPlane{{4, 8, 0.3352}, {2, 16, 0.9957}}

// IndexPlane is one width of codes.
type IndexPlane struct {
	Bits     int
	Channels int // in one vector of 64 bytes for 16 tokens
	// Step is the distance of two codes in standard deviations: that of the
	// best uniform quantizer for a normal distribution (Max, IRE Trans. IT-6,
	// 1960).
	Step float32
}

// IndexUnits is how many units of a page's mean, and of its keys' deviation
// from that, make one deviation of the block.
const IndexUnits = 16

// IndexSkip is the number of tokens at a sequence's begin that index
// statistics leave out: the attention sink, whose keys are unlike all others.
const IndexSkip = 4

// MaxIndexDim is the widest head that an index orders, in channels.
const MaxIndexDim = 256

// Index is where things lie in the index of one block of one KV head: a
// low-bit copy of the keys, for choosing pages, and, with an estimate, the
// cold pages' mean values, which stand for what was not chosen.
//
//	order [headDim] uint8: the channels, greatest share of scores first
//	refs [headDim] f16: per channel, the mean over the block's first page
//	steps [headDim] f16: and its standard deviation
//	means [padded/4][8 pages][4] uint8: the pages' means above the reference, in
//	  deviations/16, plus 128
//	scales [ranks/4][8 pages][4] uint8: by rank, the deviation of the page's
//	  keys from their mean, in the block's deviations/16
//	codes [8 pages][2 halves of 16 tokens][2 planes][vectors] { [16 tokens, 4] bytes }
//	values [16 cold pages][padded] int8: mean values
//	valueSteps [16 cold pages] f16
//
// A code c of a plane with b bits stands for
// reference + deviation*(mean/16 + scale/16*step*(c - (2^b-1)/2)): keys of one
// page may lie far from the others', and each has a scale of its own so that
// they are not cut off. In vector v of a plane whose channels begin at rank r,
// byte j of a token holds in bits b*q to b*q+b-1 the channel of rank
// r + v*Channels + 4*q + j. Channels are padded to a multiple of 16.
type Index struct {
	Dim       int // headDim
	Vectors   int // in each plane
	Padded    int // channels
	Order     int // byte offset
	Refs      int
	Steps     int
	Means     int
	Scales    int
	Codes     int
	Values    int // 0 without an estimate
	ValueStep int
	Bytes     int // of one head's block, padded to whole lines
}

// NewIndex lays out the index of heads of dim channels.
func NewIndex(dim int, estimate bool) Index {
	x := Index{Dim: dim, Vectors: unitsFor(dim, 64), Padded: unitsFor(dim, 16) * 16}
	x.Refs = x.Padded
	x.Steps = x.Refs + 2*x.Padded
	x.Means = x.Steps + 2*x.Padded
	x.Scales = x.Means + blockPages*x.Padded
	x.Codes = x.Scales + blockPages*x.Ranks()
	end := x.Codes + blockCold*x.PageVectors()*64
	if estimate {
		x.Values = end
		x.ValueStep = x.Values + blockCold*x.Padded
		end = x.ValueStep + 2*blockCold
	}
	x.Bytes = unitsFor(end, lineBytes) * lineBytes
	return x
}

// PageVectors is the number of 64-byte vectors of codes for 16 tokens.
func (x Index) PageVectors() int { return len(IndexPlanes) * x.Vectors }

// Ranks is the number of places for codes of one token.
func (x Index) Ranks() int {
	n := 0
	for _, p := range IndexPlanes {
		n += p.Channels
	}
	return n * x.Vectors
}

// Coded is the number of channels that have codes.
func (x Index) Coded() int { return min(x.Ranks(), x.Dim) }

// Beside is where the i-th mean or scale of a page lies among those of its
// block: pages lie side by side, four channels each, as a query meets them.
func (x Index) Beside(page, i int) int { return (i/4*blockPages+page)*4 + i%4 }
