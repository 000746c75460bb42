package offload

// The codes of keys that dominant pages are chosen by: of 64 channels of a
// block, the 24 that move attention scores most, by the deviation of their keys
// times the size of their queries, have two bits, and the others none but their
// page's mean. Scores hang on few channels (arXiv:2505.19586, section 4.2).
const (
	// IndexTop is the largest code.
	IndexTop = 1<<indexBits - 1
	// IndexStep is the distance of two codes in standard deviations. The best
	// uniform quantizer of four levels for a normal distribution has 0.9957 (Max,
	// IRE Trans. IT-6, 1960), but cuts off at 1.5 deviations: what a query looks for
	// may lie further out.
	IndexStep = 1.145

	indexBits  = 2
	aloneRanks = 16 // channels of a 64-byte vector with codes of 16 tokens
	bothRanks  = 8  // of one with codes of 32
)

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
//	codes [8 pages] {alone [2 halves of 16 tokens][vectors], both [vectors]} { [16 tokens, 4] bytes }
//	values [16 cold pages][padded] int8: mean values
//	valueSteps [16 cold pages] f16
//
// A code c stands for reference + deviation*(mean/16 + scale/16*step*(c - 3/2)):
// keys of one page may lie far from the others', and each has a scale of its own
// so that they are not cut off. In vector v of those of one half, byte j of a token
// holds in bits 2q and 2q+1 the channel of rank 16*v + 4*q + j. Vector v of those of
// both has the channels of ranks 16*vectors + 8*v + 4*q + j, q below 2, of token t in
// bits 2q and 2q+1 of its byte j, and those of token t+16 in bits 4+2q and 5+2q.
// Channels are padded to a multiple of 16.
type Index struct {
	Dim       int // headDim
	Vectors   int // of codes of either half of a page, and of both
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
	end := x.Codes + blockPages*x.PageBytes()
	if estimate {
		x.Values = end
		x.ValueStep = x.Values + blockCold*x.Padded
		end = x.ValueStep + 2*blockCold
	}
	x.Bytes = unitsFor(end, lineBytes) * lineBytes
	return x
}

// PageBytes is the size of a page's codes.
func (x Index) PageBytes() int { return 3 * x.Vectors * 64 }

// Ranks is the number of places for codes of one token.
func (x Index) Ranks() int { return (aloneRanks + bothRanks) * x.Vectors }

// CodeAt is where, in a page's codes, the one of a token in the channel of a
// rank lies: the byte, and the shift within it.
func (x Index) CodeAt(t, rank int) (byte, shift int) {
	if rank < aloneRanks*x.Vectors {
		at := rank % aloneRanks
		return ((t/16*x.Vectors+rank/aloneRanks)*16+t%16)*4 + at%4, at / 4 * indexBits
	}
	rank -= aloneRanks * x.Vectors
	at := rank % bothRanks
	return ((2*x.Vectors+rank/bothRanks)*16+t%16)*4 + at%4, (t/16*2 + at/4) * indexBits
}

// Coded is the number of channels that have codes.
func (x Index) Coded() int { return min(x.Ranks(), x.Dim) }

// Beside is where the i-th mean or scale of a page lies among those of its
// block: pages lie side by side, four channels each, as a query meets them.
func (x Index) Beside(page, i int) int { return (i/4*blockPages+page)*4 + i%4 }
