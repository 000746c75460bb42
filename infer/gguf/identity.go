package gguf

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
)

// sampleBytes is what is read at both ends of every tensor.
const sampleBytes = 4096

// Identity tells files of different weights apart: it covers the metadata that a
// model's step depends on, and name, type, shape and both ends of every tensor.
// Reading all of a large file would take longer than loading it; another
// training or another quantization changes the ends of some tensor as surely as
// its middle. It does not withstand a file that was made to deceive. Names,
// descriptions, chat templates and how a file is split are not part of it.
func (f *File) Identity() [sha256.Size]byte {
	h := sha256.New()
	for _, key := range f.keys {
		if strings.HasPrefix(key, "general.") && key != "general.architecture" || strings.HasPrefix(key, "split.") || strings.HasPrefix(key, "tokenizer.chat_template") {
			continue
		}
		v, _ := f.Value(key)
		fmt.Fprintf(h, "%q=%v\n", key, v)
	}
	for _, t := range f.tensors {
		fmt.Fprintf(h, "%q %v %v\n", t.Name, t.Type, t.Dims)
		_ = binary.Write(h, binary.LittleEndian, int64(len(t.Data))) // a hash takes everything
		h.Write(t.Data[:min(len(t.Data), sampleBytes)])
		h.Write(t.Data[max(0, len(t.Data)-sampleBytes):])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
