package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Sizes of SQLite's log, which https://sqlite.org/walformat.html describes: a header,
// and frames of a header and a page each.
const (
	logHead   = 32
	frameHead = 24
	logMagic  = 0x377f0682 // or 1 more: checksums are of big-endian words
	minPage   = 512
	maxPage   = 64 << 10
)

// logSum is the running checksum of a log.
type logSum [2]uint32

func (s logSum) add(order binary.ByteOrder, b []byte) logSum {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}

func sumAt(b []byte) logSum {
	return logSum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// logScan goes through a log's frames.
type logScan struct {
	order binary.ByteOrder
	page  int
	salt  [8]byte // of this use of the file: frames of earlier ones have others
	sum   logSum  // that the frame before ends with, by its own account

	at     int64 // behind the frames that were looked at
	end    int64 // behind the last transaction of which all holds
	broken bool  // a frame did not hold
	run    int   // transactions that end in frames which follow each other unbroken, behind that
	lost   int   // the most of them
}

// checkLog fails with [ErrCorrupt] when a log is damaged where it had been durable.
// SQLite takes the first frame that does not hold for the log's end, as it has to:
// a power loss tears the transaction that was being written. But each one is synced
// before the next is begun, so that only the last can be torn, and what a failed one
// leaves behind is one transaction, too. Two behind the damage were durable.
func checkLog(path string) (err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := bufio.NewReaderSize(f, maxPage)
	head := make([]byte, logHead)
	if more, err := readWhole(r, head); !more {
		return err
	}
	l, ok := newLogScan(head)
	if !ok {
		return headless(r, head)
	}
	if err := l.frames(r); err != nil {
		return err
	}
	if l.lost < 2 {
		return nil
	}
	return fmt.Errorf("%w: %s-wal is damaged behind byte %d, where %d transactions were durable that SQLite would drop (`truncate -s %d` of the file drops them)",
		ErrCorrupt, databaseFile, l.end, l.lost, l.end)
}

// readWhole fills b; more is false where the file ends.
func readWhole(r io.Reader, b []byte) (more bool, err error) {
	switch _, err := io.ReadFull(r, b); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read %s-wal: %w", databaseFile, err)
	}
	return true, nil
}

// headless judges a log without a valid header. Headers are synced before frames, and
// too short to be torn: only one that was never written has frames and no header.
func headless(r io.Reader, head []byte) error {
	frames, err := readWhole(r, make([]byte, frameHead+minPage))
	if err != nil || !frames || [logHead]byte(head) == [logHead]byte{} {
		return err
	}
	return fmt.Errorf("%w: the header of %s-wal is, and SQLite would drop what the file holds (`truncate -s 0` of the file drops it)", ErrCorrupt, databaseFile)
}

func newLogScan(head []byte) (l logScan, ok bool) {
	magic, page := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[8:])
	if l.order = binary.LittleEndian; magic&1 != 0 {
		l.order = binary.BigEndian
	}
	l.page, l.salt = int(page), [8]byte(head[16:])
	l.sum = logSum{}.add(l.order, head[:24])
	l.at, l.end = logHead, logHead
	return l, magic&^1 == logMagic && page >= minPage && page <= maxPage && page&(page-1) == 0 && l.sum == sumAt(head[24:])
}

func (l *logScan) frames(r io.Reader) error {
	frame := make([]byte, frameHead+l.page)
	for {
		more, err := readWhole(r, frame)
		if !more {
			return err
		}
		l.next(frame)
	}
}

func (l *logScan) next(frame []byte) {
	l.at += int64(len(frame))
	ours := [8]byte(frame[8:]) == l.salt && binary.BigEndian.Uint32(frame) != 0
	holds := ours && l.sum.add(l.order, frame[:8]).add(l.order, frame[frameHead:]) == sumAt(frame[16:])
	l.sum = sumAt(frame[16:])
	if !holds {
		l.broken, l.run = true, 0
	}
	if ends := binary.BigEndian.Uint32(frame[4:]) != 0; !ours || !ends {
		return
	}
	if !l.broken {
		l.end = l.at
		return
	}
	l.run++
	l.lost = max(l.lost, l.run)
}
