// Package portable is the format of exported sessions: one stream that is
// written and read from its beginning to its end, in bounded memory.
//
//	magic, version             16 bytes
//	session                    1 frame
//	message, its data          for each message: body, then tokens as int32
//	blocks                     1 frame for each run of blocks of the same sizes
//	tail                       0 or 1 frame
//	data                       of all parts of all blocks and the tail, in order
//	end                        1 frame with counts
//
// A frame is a kind, a length of at most MaxFrame, an xxhash64 over its number,
// kind, length and payload, and the payload: JSON, or bytes of data. So frames
// cannot be changed, cut off, dropped, doubled or exchanged unnoticed. That is
// no signature: who writes a whole file can write anything into it.
//
// No name of a file is in the format. Sizes that a file declares are limits for
// what follows, and never a reason to take memory.
//
// # Ownership and goroutine-safety
//
// A Writer and a Reader belong to one goroutine. Data that a Reader gives is
// valid until it is used again.
//
// # Failure modes
//
// [ErrFormat] is wrapped for everything that is wrong with a file, [ErrNewer]
// for one of a later version.
package portable

import (
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"
)

// Errors of files.
var (
	ErrFormat = errors.New("not an intact export of a session")
	ErrNewer  = errors.New("export is of a newer version")
)

// MaxFrame is the most bytes of a frame's payload.
const MaxFrame = 1 << 20

const (
	version    = 1
	headBytes  = 16
	frameBytes = 16
)

var magic = [8]byte{'e', 'd', 'g', 'e', 'd', 's', 'e', 's'}

// Kind is what a frame holds.
type Kind byte

// Kinds of frames.
const (
	KindSession Kind = 'S'
	KindMessage Kind = 'M'
	KindBlocks  Kind = 'B'
	KindTail    Kind = 'T'
	KindData    Kind = 'D'
	KindEnd     Kind = 'E'
)

// Session describes an exported session.
type Session struct {
	Title       string   `json:"title"`
	Tags        []string `json:"tags,omitempty"`
	Model       string   `json:"model"`
	Fingerprint []byte   `json:"fingerprint"`
	Policy      string   `json:"policy"`
	Calibration string   `json:"calibration"`
	Messages    int      `json:"messages"` // frames that follow
	Blocks      int      `json:"blocks"`   // sum of Count of the frames that follow
	Runs        int      `json:"runs"`     // frames of blocks that follow
	Tail        bool     `json:"tail"`     // whether a frame of a tail follows
}

// Message describes a message. Its body and then its tokens follow.
type Message struct {
	Role   string `json:"role"`
	Body   int64  `json:"body"`   // bytes
	Tokens int64  `json:"tokens"` // of 4 bytes
}

// Blocks describes blocks that follow each other and have the same sizes.
type Blocks struct {
	Count      int    `json:"count"`
	Provenance int    `json:"provenance"`
	Parts      []Part `json:"parts"`
}

// Tail describes what follows the last block.
type Tail struct {
	Parts []Part `json:"parts"`
}

// Part describes a part of a payload.
type Part struct {
	ID   int   `json:"id"`
	Size int64 `json:"size"` // bytes
}

// End proves that the file is complete.
type End struct {
	Frames uint64 `json:"frames"` // before this one
	Data   int64  `json:"data"`   // bytes of all data frames
}

// frameSum covers everything of a frame, and its place.
func frameSum(number uint64, head, payload []byte) uint64 {
	d := xxhash.New()
	d.Write(binary.LittleEndian.AppendUint64(nil, number))
	d.Write(head[:8])
	d.Write(payload)
	return d.Sum64()
}
