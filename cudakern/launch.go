package cudakern

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"

	"edged/cudakern/driver"
)

// The parameters of the kernels, in their order. Sizes are in elements, where
// no other unit is named; strides of page tables in entries.
type (
	// Embed: a block per row.
	Embed struct {
		Table, Tok, Dst   driver.Ptr
		Type, K, RowBytes uint32
		Scale             float32
	}
	// NormRows: a block per row.
	NormRows struct {
		Src, W, Dst driver.Ptr
		K, Add      uint32
		Eps         float32
	}
	// Rope: a block per row.
	Rope struct {
		X, Freq, Pos                   driver.Ptr
		Heads, Dim, Pairs, Interleaved uint32
		Scale                          float32
	}
	// Append: a block per row.
	Append struct {
		K, V, Pages, Table, Pos, Seq driver.Ptr
		PageBytes                    uint64
		TableStride, KVHeads, Dim    uint32
	}
	// NormRopeAppend: a warp per head, blocks of up to 32, by rows.
	NormRopeAppend struct {
		Q, K, V, QNorm, KNorm, Freq, Pages, Table, Pos, Seq  driver.Ptr
		PageBytes                                            uint64
		TableStride, Heads, KVHeads, Dim, Pairs, Interleaved uint32
		Scale, Eps                                           float32
	}
	// SelectRows: a block per chosen row.
	SelectRows struct {
		Src, Out, Dst driver.Ptr
		K             uint32
	}
	// GateRows: a thread per element.
	GateRows struct {
		Gate, Up driver.Ptr
		N        uint64
		GELU     uint32
	}
	// LinearAny: blocks of 8 outputs, by 8 rows.
	LinearAny struct {
		W, X, Bias, Dst                 driver.Ptr
		Type, N, K, RowBytes, Rows, Add uint32
	}
	// GatedAny: blocks of 8 outputs, by 8 rows.
	GatedAny struct {
		Gate, Up, X, Dst                                       driver.Ptr
		GateType, UpType, N, K, GateBytes, UpBytes, Rows, GELU uint32
	}
	// Tiled: up to three tiled matrices, those from Mixed on of a second type, with
	// up to eight rows.
	Tiled struct {
		W, Dst, Bias   [3]driver.Ptr
		X, Norm        driver.Ptr
		N              [3]uint32
		K, Rows, Units uint32
		Warps, Stages  uint32 // warps that share a tile; units in a warp's ring
		Add, Mixed     uint32 // Add: bit i: Dst[i] +=
		Eps            float32
	}
	// TiledGated: a pair of tiled matrices of one type.
	TiledGated struct {
		Gate, Up, Dst, X, Norm                 driver.Ptr
		N, K, Rows, Units, Warps, Stages, GELU uint32
		Eps                                    float32
	}
	// PackTiles: a warp per unit, by tiles.
	PackTiles struct {
		W, Dst                                             driver.Ptr
		Type, N, K, RowBytes, Block, BlockBytes, UnitBytes uint32
	}
	// UnpackTiles: units by four tiles.
	UnpackTiles struct {
		Tiles, Dst driver.Ptr
		Type, N, K uint32
	}
	// UnpackRows: 2048 inputs by rows.
	UnpackRows struct {
		W, Dst            driver.Ptr
		Type, K, RowBytes uint32
	}
	// HalveRows: a block per row.
	HalveRows struct {
		X, Dst, Factor driver.Ptr
		K              uint32
	}
	// Gemm: tiles of 128 rows by 128 or 256 outputs.
	Gemm struct {
		A, B, Factor, Bias, Dst driver.Ptr
		M, N, K, LD, Add        uint32
	}
	// Operands: a block per row, of as many warps as share a tile.
	Operands struct {
		X, Norm, Dst, RowFactor, UnitFactor driver.Ptr
		K, Blocks, Units                    uint32 // Blocks: of 32 inputs, in Dst
		Eps                                 float32
	}
	// Batch: up to three tiled matrices, those from Mixed on of a second type, and
	// up to 16 prepared rows.
	Batch struct {
		W, Dst, Bias                                   [3]driver.Ptr
		X, RowFactor, UnitFactor                       driver.Ptr
		N                                              [3]uint32
		Rows, Units, Blocks, Warps, Stages, Add, Mixed uint32
	}
	// BatchGated: a pair of tiled matrices of one type.
	BatchGated struct {
		Gate, Up, Dst, X, RowFactor, UnitFactor     driver.Ptr
		N, Rows, Units, Blocks, Warps, Stages, GELU uint32
	}
	// OrderRows: a block per row; steps of 64 inputs.
	OrderRows struct {
		X, Norm, Dst, Factor driver.Ptr
		K, Steps             uint32
		Eps                  float32
	}
	// Wgmma: pieces of 128 outputs by 128 or 256 rows, as many blocks as fill the
	// device.
	Wgmma struct {
		W, Dst, Bias         [3]driver.Ptr
		X, Factor            driver.Ptr
		N, LD                [3]uint32 // LD: from one row of Dst to the next
		M, Units, Steps, Add uint32    // Add: bit i: Dst[i] +=
	}
	// WgmmaGated: pieces of 64 outputs.
	WgmmaGated struct {
		Gate, Up, Dst, X, Factor     driver.Ptr
		N, LD, M, Units, Steps, GELU uint32
	}
	// Decode: blocks that share a row's splits, of which there are Most at most, by KV
	// heads' tiles by rows.
	Decode struct {
		Q, Dst, Pages, Table, Pos, Seq, Partial, Tickets driver.Ptr
		PageBytes                                        uint64
		TableStride, Heads, KVHeads, Window, Most        uint32
		Scale                                            float32
	}
	// ReadBytes: blocks of 512 threads that stride over the memory.
	ReadBytes struct {
		Src   driver.Ptr
		Bytes uint64
		Out   driver.Ptr
	}
	// Prompt: tiles of rows by KV heads.
	Prompt struct {
		Q, Dst, Pages, Table, Pos, Tiles    driver.Ptr
		PageBytes                           uint64
		TableStride, Heads, KVHeads, Window uint32
		Scale                               float32
	}
)

// Pack lays a parameter struct out as kernels expect it.
func Pack(args any) []byte {
	var b []byte
	v := reflect.ValueOf(args)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Array {
			for j := range f.Len() {
				b = packOne(b, f.Index(j))
			}
		} else {
			b = packOne(b, f)
		}
	}
	return b
}

func packOne(b []byte, v reflect.Value) []byte {
	size := int(v.Type().Size())
	for len(b)%size != 0 {
		b = append(b, 0)
	}
	switch v.Kind() {
	case reflect.Uint64:
		return binary.NativeEndian.AppendUint64(b, v.Uint())
	case reflect.Uint32:
		return binary.NativeEndian.AppendUint32(b, uint32(v.Uint()))
	case reflect.Float32:
		return binary.NativeEndian.AppendUint32(b, math.Float32bits(float32(v.Float())))
	}
	panic(fmt.Sprintf("a kernel parameter of type %s", v.Type())) // a programming error that the tests find
}

// Params maps every kernel to the struct that its parameters are packed from.
func Params() map[string]any {
	p := map[string]any{
		"embed": Embed{}, "norm_rows": NormRows{}, "rope": Rope{}, "append": Append{}, "norm_rope_append": NormRopeAppend{},
		"select_rows": SelectRows{}, "gate_rows": GateRows{}, "linear_any": LinearAny{}, "gated_any": GatedAny{},
		"pack_tiles": PackTiles{}, "unpack_tiles": UnpackTiles{}, "unpack_rows": UnpackRows{}, "halve_rows": HalveRows{}, "gemm_128": Gemm{}, "gemm_256": Gemm{}, "read_bytes": ReadBytes{},
		"order_rows": OrderRows{}, "operands_256": Operands{}, "operands_64": Operands{}, "unpack_to_tiles": UnpackRows{},
	}
	for _, t := range []string{"q4k", "q5k", "q6k", "q8", "f16"} {
		for _, n := range []string{"2", "8"} {
			p["tiled_"+t+"_"+n], p["tiled_gated_"+t+"_"+n] = Tiled{}, TiledGated{}
			if t == "q6k" {
				p["tiled_q4k_q6k_"+n], p["tiled_q5k_q6k_"+n] = Tiled{}, Tiled{}
			}
		}
		for _, n := range []string{"8", "16"} {
			p["batch_"+t+"_"+n], p["batch_gated_"+t+"_"+n] = Batch{}, BatchGated{}
			if t == "q6k" {
				p["batch_q4k_q6k_"+n], p["batch_q5k_q6k_"+n] = Batch{}, Batch{}
			}
		}
		for _, n := range []string{"128", "256"} {
			p["wgmma_"+t+"_"+n], p["wgmma_gated_"+t+"_"+n] = Wgmma{}, WgmmaGated{}
		}
	}
	for _, d := range []string{"64", "80", "96", "128", "256"} {
		p["decode_"+d], p["prompt_"+d] = Decode{}, Prompt{}
	}
	p["prompt_wgmma_64"], p["prompt_wgmma_128"] = Prompt{}, Prompt{}
	addCacheParams(p)
	addSampleParams(p)
	return p
}
