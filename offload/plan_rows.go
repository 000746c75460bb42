package offload

import (
	"fmt"

	"edged/pinnedmem"
)

// PlanRow is what layers that are kept alike take, or what all layers share.
type PlanRow struct {
	Layers []int     // nil: shared by all
	Plan   LayerPlan // of each of Layers
	Bytes  Bytes
}

// rows divides a pool's memory among its layers; their sum is Bytes.
func (c Config) rows() ([]PlanRow, error) {
	p := &Pool{cfg: c}
	var rows []PlanRow
	for i, plan := range c.Layers {
		l, err := newLayer(c, plan)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		p.layers = append(p.layers, l)
		r := rowOf(&rows, plan)
		r.Layers = append(r.Layers, i)
		one := &Pool{cfg: c, layers: []layer{l}}
		r.Bytes.add(one.regions(), func(r region) bool { return !one.shared(r) })
	}
	all := PlanRow{}
	all.Bytes.add(p.regions(), p.shared)
	return append(rows, all), nil
}

func rowOf(rows *[]PlanRow, plan LayerPlan) *PlanRow {
	for i := range *rows {
		if r := &(*rows)[i]; r.Plan == plan {
			return r
		}
	}
	*rows = append(*rows, PlanRow{Plan: plan})
	return &(*rows)[len(*rows)-1]
}

// shared says whether a region belongs to no single layer.
func (p *Pool) shared(r region) bool {
	switch r.to {
	case &p.tableMem, &p.work, &p.stage.pages, &p.stage.pending:
		return true
	}
	return false
}

// add counts the regions that want.
func (b *Bytes) add(rs []region, want func(region) bool) {
	for _, r := range rs {
		if !want(r) {
			continue
		}
		u := &b.Fast
		if r.tier == HostTier {
			u = &b.Host
		}
		u[r.purpose] += pinnedmem.ArenaBytes(r.bytes)
	}
}
