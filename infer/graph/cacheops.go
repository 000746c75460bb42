package graph

import (
	"errors"
	"fmt"
)

// KVStore writes tokens that leave a layer's exact tail as records, with
// their index. It runs before the step's own tokens are appended, or at the
// end of a prompt's last chunk.
type KVStore struct{ Layer int }

// KVSelect chooses the records that a decode row attends to. A Paged layer's
// choice uses the layer's own query. A Gathered layer's query may be predicted:
// that of the layer before, whose input it was computed from.
type KVSelect struct {
	Layer     int
	Q         Buf
	Heads     int
	Scale     float32 // as in Attend
	Predicted bool
}

// KVFetch brings what was chosen to the fast tier.
type KVFetch struct{ Layer int }

// KVWait ends when everything that was to be brought for a layer is there.
type KVWait struct{ Layer int }

func (o KVStore) format(*Program) string { return fmt.Sprintf("kv_store layer %d", o.Layer) }

func (o KVSelect) format(p *Program) string {
	s := fmt.Sprintf("kv_select layer %d: %s [%d/%d,%d]", o.Layer, p.buf(o.Q), o.Heads, p.KV[o.Layer].KVHeads, p.KV[o.Layer].HeadDim)
	if o.Predicted {
		s += ", predicted"
	}
	return s
}

func (o KVFetch) format(*Program) string { return fmt.Sprintf("kv_fetch layer %d", o.Layer) }

func (o KVWait) format(*Program) string { return fmt.Sprintf("kv_wait layer %d", o.Layer) }

func (o KVStore) check(p *Program) error { return p.layer(o.Layer) }
func (o KVFetch) check(p *Program) error { return p.layer(o.Layer) }
func (o KVWait) check(p *Program) error  { return p.layer(o.Layer) }

func (o KVSelect) check(p *Program) error {
	if err := p.layer(o.Layer); err != nil {
		return err
	}
	return errors.Join(p.width(o.Q, o.Heads*p.KV[o.Layer].HeadDim), p.rows(AllRows, o.Q))
}

func (p *Program) layer(l int) error {
	if l < 0 || l >= len(p.KV) {
		return fmt.Errorf("cache layer %d does not exist", l)
	}
	return nil
}
