package cuda

import (
	"errors"
	"fmt"
	"slices"

	"edged/cudakern"
	"edged/cudakern/driver"
)

const (
	bandwidthBytes = 2 << 30 // far more than any cache
	bandwidthReps  = 7
)

// ReadBandwidth is what the device can read from its memory, bytes per second:
// the median of a few readings.
func (b *Backend) ReadBandwidth() (rate float64, err error) {
	mem, err := b.dev.Alloc(bandwidthBytes)
	if err != nil {
		return 0, fmt.Errorf("measure read bandwidth: %w", err)
	}
	defer func() { err = errors.Join(err, b.dev.Free(mem)) }()
	s, err := b.dev.NewStream()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.dev.FreeStream(s)) }()
	f, ok := b.lib.Function("read_bytes")
	if !ok {
		return 0, errors.New("measure read bandwidth: no such kernel")
	}
	var l driver.List
	read := driver.Launch{Function: f, Name: "read_bytes", Grid: driver.Dim{X: 4 * b.info.SMs}, Block: driver.Dim{X: 512},
		Args: cudakern.Pack(cudakern.ReadBytes{Src: mem, Bytes: bandwidthBytes, Out: mem})}
	l.Reset(s)
	l.Fill(mem, 1, bandwidthBytes)
	l.Launch(read)
	if err := b.dev.Submit(&l); err != nil {
		return 0, err
	}
	var rates []float64
	for range bandwidthReps {
		t, err := timed(b.dev, s, func(l *driver.List) { l.Launch(read) })
		if err != nil {
			return 0, err
		}
		rates = append(rates, bandwidthBytes/t)
	}
	slices.Sort(rates)
	return rates[len(rates)/2], nil
}

// timed is the device's seconds for commands.
func timed(dev *driver.Device, s driver.Stream, fill func(*driver.List)) (seconds float64, err error) {
	var marks [2]driver.Event
	for i := range marks {
		if marks[i], err = dev.NewEvent(true); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, dev.FreeEvent(marks[i])) }()
	}
	var l driver.List
	l.Reset(s)
	l.Record(marks[0])
	fill(&l)
	l.Record(marks[1])
	if err := errors.Join(dev.Submit(&l), dev.WaitStream(s)); err != nil {
		return 0, err
	}
	d, err := dev.Elapsed(marks[0], marks[1])
	return d.Seconds(), err
}
