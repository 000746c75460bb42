package gguf

import (
	"fmt"
	"strings"
)

// Type is a tensor's element encoding, numbered as in ggml.
type Type uint32

// Supported tensor types.
const (
	F32    Type = 0
	F16    Type = 1
	Q4_0   Type = 2
	Q4_1   Type = 3
	Q5_0   Type = 6
	Q5_1   Type = 7
	Q8_0   Type = 8
	Q2_K   Type = 10
	Q3_K   Type = 11
	Q4_K   Type = 12
	Q5_K   Type = 13
	Q6_K   Type = 14
	IQ4_NL Type = 20
	IQ4_XS Type = 23
	BF16   Type = 30
)

// Types lists the supported types in ggml's order.
func Types() []Type {
	return []Type{F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16}
}

// typeInfo describes one ggml type. The types that are named but not
// supported have no block geometry.
type typeInfo struct {
	name       string
	blockElems int // elements per block
	blockBytes int // bytes per block
}

// typeInfos is indexed by Type; a gap is a number that ggml never assigned.
var typeInfos = [...]typeInfo{
	F32:    {"F32", 1, 4},
	F16:    {"F16", 1, 2},
	Q4_0:   {"Q4_0", 32, 18},
	Q4_1:   {"Q4_1", 32, 20},
	4:      {name: "Q4_2"},
	5:      {name: "Q4_3"},
	Q5_0:   {"Q5_0", 32, 22},
	Q5_1:   {"Q5_1", 32, 24},
	Q8_0:   {"Q8_0", 32, 34},
	9:      {name: "Q8_1"},
	Q2_K:   {"Q2_K", 256, 84},
	Q3_K:   {"Q3_K", 256, 110},
	Q4_K:   {"Q4_K", 256, 144},
	Q5_K:   {"Q5_K", 256, 176},
	Q6_K:   {"Q6_K", 256, 210},
	15:     {name: "Q8_K"},
	16:     {name: "IQ2_XXS"},
	17:     {name: "IQ2_XS"},
	18:     {name: "IQ3_XXS"},
	19:     {name: "IQ1_S"},
	IQ4_NL: {"IQ4_NL", 32, 18},
	21:     {name: "IQ3_S"},
	22:     {name: "IQ2_S"},
	IQ4_XS: {"IQ4_XS", 256, 136},
	24:     {name: "I8"},
	25:     {name: "I16"},
	26:     {name: "I32"},
	27:     {name: "I64"},
	28:     {name: "F64"},
	29:     {name: "IQ1_M"},
	BF16:   {"BF16", 1, 2},
	31:     {name: "Q4_0_4_4"},
	32:     {name: "Q4_0_4_8"},
	33:     {name: "Q4_0_8_8"},
	34:     {name: "TQ1_0"},
	35:     {name: "TQ2_0"},
	36:     {name: "IQ4_NL_4_4"},
	37:     {name: "IQ4_NL_4_8"},
	38:     {name: "IQ4_NL_8_8"},
	39:     {name: "MXFP4"},
	40:     {name: "NVFP4"},
	41:     {name: "Q1_0"},
	42:     {name: "Q2_0"},
}

func (t Type) info() typeInfo {
	if uint64(t) < uint64(len(typeInfos)) {
		return typeInfos[t]
	}
	return typeInfo{}
}

// String returns ggml's name of the type, also for types that this package
// cannot read, or "unknown" for a number that ggml does not define.
func (t Type) String() string {
	if name := t.info().name; name != "" {
		return name
	}
	return "unknown"
}

// Supported reports whether tensors of the type can be opened and dequantized.
func (t Type) Supported() bool { return t.info().blockElems > 0 }

// BlockElems is the number of elements in a block, 0 for an unsupported type.
func (t Type) BlockElems() int { return t.info().blockElems }

// BlockBytes is the size of a block in bytes, 0 for an unsupported type.
func (t Type) BlockBytes() int { return t.info().blockBytes }

// RowBytes is the size in bytes of the whole blocks that hold width elements,
// 0 for an unsupported type.
func (t Type) RowBytes(width int) int {
	info := t.info()
	if info.blockElems == 0 {
		return 0
	}
	return (width + info.blockElems - 1) / info.blockElems * info.blockBytes
}

// unsupported describes a type that the package cannot read.
func (t Type) unsupported() string {
	names := make([]string, 0, len(Types()))
	for _, s := range Types() {
		names = append(names, s.String())
	}
	return fmt.Sprintf("type %s (%d) is not supported; supported: %s", t, uint32(t), strings.Join(names, " "))
}
