package offload

// IndexPlanes are the widths of the key codes that dominant pages are chosen
// by: a block's channels of greatest deviation get four bits, the next ones
// two, then one, and the least none but their page's mean. Attention scores
// hang on few channels (arXiv:2505.19586, section 4.2), so that 1.5 bits a
// channel choose about as well as four bits for all.
var IndexPlanes = [...]IndexPlane{{4, 8, 0.3352}, {2, 16, 0.9957}, {1, 32, 1.596}}

// IndexPlane is one width of codes.
type IndexPlane struct {
	Bits     int
	Channels int // in one vector of 64 bytes for 16 tokens
	// Step is the distance of two codes in standard deviations: that of the
	// best uniform quantizer for a normal distribution (Max, IRE Trans. IT-6,
	// 1960).
	Step float32
}

// IndexMeanUnits is how many units of a page's mean make one deviation.
const IndexMeanUnits = 16

// IndexSkip is the number of tokens at a sequence's begin that index
// statistics leave out: the attention sink, whose keys are unlike all others.
const IndexSkip = 4

// MaxIndexDim is the widest head that an index orders, in channels.
const MaxIndexDim = 256

// Index is where things lie in the index of one block of one KV head: a
// low-bit copy of the keys, for choosing pages, and, with an estimate, the
// pages' mean values, which stand for what was not chosen.
//
//	order [headDim] uint8: the channels, greatest deviation first
//	refs [headDim] f16: per channel, the mean over the block's first page
//	steps [headDim] f16: and its standard deviation
//	means [8 pages][padded] uint8: the pages' means above the reference, in
//	  deviations/16, plus 128
//	codes [8 pages][2 halves of 16 tokens][3 planes][vectors] { [16 tokens, 4] bytes }
//	values [8 pages][padded] int8: the pages' mean values
//	valueSteps [8 pages] f16
//
// A code c of a plane with b bits stands for
// reference + deviation*(mean/16 + step*(c - (2^b-1)/2)). In vector v of a
// plane whose channels begin at rank r, byte j of a token holds in bits
// b*q to b*q+b-1 the channel of rank r + v*Channels + 4*q + j. Channels are
// padded to a multiple of 16.
type Index struct {
	Dim       int // headDim
	Vectors   int // in each plane
	Padded    int // channels
	Order     int // byte offset
	Refs      int
	Steps     int
	Means     int
	Codes     int
	Values    int // 0 without an estimate
	ValueStep int
	Bytes     int // of one head's block, padded to whole lines
}

// NewIndex lays out the index of heads of dim channels.
func NewIndex(dim int, estimate bool) Index {
	x := Index{Dim: dim, Vectors: (dim + 63) / 64, Padded: (dim + 15) / 16 * 16}
	x.Refs = x.Padded
	x.Steps = x.Refs + 2*x.Padded
	x.Means = x.Steps + 2*x.Padded
	x.Codes = x.Means + blockPages*x.Padded
	end := x.Codes + BlockTok/16*x.PageVectors()*64
	if estimate {
		x.Values = end
		x.ValueStep = x.Values + blockPages*x.Padded
		end = x.ValueStep + 2*blockPages
	}
	x.Bytes = (end + lineBytes - 1) / lineBytes * lineBytes
	return x
}

// PageVectors is the number of 64-byte vectors of codes for 16 tokens.
func (x Index) PageVectors() int { return len(IndexPlanes) * x.Vectors }

// Coded is the number of channels that have codes.
func (x Index) Coded() int {
	n := 0
	for _, p := range IndexPlanes {
		n += p.Channels
	}
	return min(n*x.Vectors, x.Dim)
}
