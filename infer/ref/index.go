package ref

import (
	"math"
	"slices"

	"edged/offload"
)

// index is the index of one block of one KV head.
type index struct {
	at offload.Index
	b  []byte
}

func (x index) order() []byte             { return x.b[x.at.Order : x.at.Order+x.at.Dim] }
func (x index) ref(channel int) []byte    { return x.b[x.at.Refs+2*channel:] }
func (x index) step(channel int) []byte   { return x.b[x.at.Steps+2*channel:] }
func (x index) valueStep(cold int) []byte { return x.b[x.at.ValueStep+2*cold:] }

// mean is a page's mean key above the reference, in deviations/16, plus 128.
func (x index) mean(page, channel int) *byte { return &x.b[x.at.Means+x.at.Beside(page, channel)] }

// scale is the deviation of a page's keys from their mean, of the channel of a
// rank, in deviations/16.
func (x index) scale(page, rank int) *byte { return &x.b[x.at.Scales+x.at.Beside(page, rank)] }

// value is a cold page's mean value, in its step.
func (x index) value(cold, channel int) *byte { return &x.b[x.at.Values+cold*x.at.Padded+channel] }

// code is the byte that holds a token's code of a rank, and the shift in it.
func (x index) code(page, t, rank int) (b *byte, shift int) {
	at, shift := x.at.CodeAt(t, rank)
	return &x.b[x.at.Codes+page*x.at.PageBytes()+at], shift
}

// writeIndex notes the page at pos, in float32 like every backend.
func (v view) writeIndex(pos, head int) {
	x, page := v.index(pos, head), pos%offload.BlockTok/offload.PageTok
	if page == 0 {
		skip := 0
		if pos == 0 {
			skip = offload.IndexSkip
		}
		for c := range x.at.Dim {
			x.setScale(c, v.keys(pos, head, c, offload.PageTok)[skip:])
		}
		x.setOrder(v.scales[head*x.at.Dim:])
	}
	var bad float32 // 0 or NaN
	for rank, c := range x.order() {
		bad += x.setKeys(page, rank, int(c), v.keys(pos, head, int(c), offload.PageTok))
	}
	for at := pos; at < pos+offload.PageTok; at += offload.ColdTok {
		mean := make([]float32, x.at.Dim)
		for t := range offload.ColdTok {
			for c, val := range v.value(at+t, head) {
				mean[c] += val
				bad += val * 0
			}
		}
		if v.mem.Plan.Estimate {
			x.setValues(at%offload.BlockTok/offload.ColdTok, mean)
		}
	}
	if bad != 0 { // whoever scores the block must see it
		putHalf(x.ref(0), bad)
	}
}

// setScale sets a channel's reference and deviation from the block's first keys.
func (x index) setScale(channel int, k []float32) {
	var sum, square float32
	for _, v := range k {
		sum += v
	}
	mean := sum / float32(len(k))
	for _, v := range k {
		square += float32((v - mean) * (v - mean))
	}
	putHalf(x.ref(channel), mean)
	putHalf(x.step(channel), float32(math.Sqrt(float64(square/float32(len(k))))))
}

// setOrder ranks the channels by their share of scores, given the queries'.
func (x index) setOrder(query []float32) {
	order := x.order()
	share := func(c byte) float32 { return half(x.step(int(c))) * query[c] }
	for c := range order {
		order[c] = byte(c)
	}
	slices.SortStableFunc(order, func(a, b byte) int {
		switch u, v := share(a), share(b); {
		case u > v:
			return -1
		case u < v:
			return 1
		}
		return 0
	})
}

// setKeys writes one channel's mean, scale and codes of a page. It returns 0, or NaN
// where keys are not finite.
func (x index) setKeys(page, rank, channel int, k []float32) float32 {
	ref, step, inv := half(x.ref(channel)), half(x.step(channel)), float32(0)
	if step > 0 {
		inv = 1 / step
	}
	var sum float32
	for t := range k {
		k[t] = (k[t] - ref) * inv
		sum += k[t]
	}
	mean := rounded(sum/offload.PageTok*offload.IndexUnits, -128, 127)
	*x.mean(page, channel) = byte(mean + 128)
	if rank < x.at.Coded() {
		var square float32
		for t := range k {
			k[t] -= float32(mean) / offload.IndexUnits
			square += float32(k[t] * k[t])
		}
		scale := rounded(float32(math.Sqrt(float64(square/offload.PageTok)))*offload.IndexUnits, 1, 255)
		*x.scale(page, rank) = byte(scale)
		unit := offload.IndexUnits / (float32(scale) * offload.IndexStep)
		for t := range k {
			b, shift := x.code(page, t, rank)
			above := float32(k[t] * unit)
			c := rounded(above+float32(offload.IndexTop)/2, 0, offload.IndexTop)
			*b = *b&^byte(offload.IndexTop<<shift) | byte(c<<shift)
		}
	}
	return sum * 0
}

// setValues writes a cold page's mean value, given its sum.
func (x index) setValues(cold int, sum []float32) {
	var top float32
	for c := range sum {
		sum[c] /= offload.ColdTok
		top = max(top, float32(math.Abs(float64(sum[c]))))
	}
	putHalf(x.valueStep(cold), top/127)
	step, inv := half(x.valueStep(cold)), float32(0)
	if step > 0 {
		inv = 1 / step
	}
	for c, m := range sum {
		*x.value(cold, c) = byte(int8(rounded(m*inv, -127, 127)))
	}
}

// rounded is x rounded half to even within [lo, hi]; NaN gives lo.
func rounded(x float32, lo, hi int) int {
	switch v := math.RoundToEven(float64(x)); {
	case v > float64(hi):
		return hi
	case v >= float64(lo):
		return int(v)
	}
	return lo
}

// meanValue is a cold page's mean value as the index has it.
func (x index) meanValue(cold int, dst []float64) {
	step := float64(half(x.valueStep(cold)))
	for c := range dst {
		dst[c] = step * float64(int8(*x.value(cold, c)))
	}
}
