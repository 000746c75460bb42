package eval

import (
	"cmp"
	"fmt"
	"slices"
)

// point is a setting in a panel.
type point struct {
	row       SweepRow
	x, y      float64
	low, high float64 // pixels of the interval's ends
	zero      bool    // beside the logarithmic axis
}

func (s *Sweep) drawPanel(p *picture, policies []string, c cost, q quality, left, top float64) {
	right, bottom := left+panelWidth, top+panelHeight
	var xs []float64
	ys := []float64{q.exact}
	for _, r := range q.rows {
		v, ci := q.of(r)
		xs = append(xs, c.of(r))
		ys = append(ys, v, ci.Low, ci.High)
	}
	xa := byteAxis(c.title, xs, left, right)
	ya := q.axis(ys, bottom, top)
	p.frame(xa, ya, left, top, right, bottom)
	exact := segment{left, ya.at(q.exact), right, ya.at(q.exact)}
	p.line(exact, neutral, `stroke-dasharray="5 4"`)
	points := make([]point, len(q.rows))
	for i, r := range q.rows {
		v, ci := q.of(r)
		points[i] = point{row: r, x: xa.at(c.of(r)), y: ya.at(v), low: ya.at(ci.Low), high: ya.at(ci.High), zero: c.of(r) <= 0}
	}
	lines := []segment{exact}
	for i, name := range policies {
		lines = append(lines, drawPolicy(p, i, name, points)...)
	}
	for _, l := range placeLabels(points, lines, box{left, top, right, bottom}) {
		if line, far := l.leader(); far {
			p.line(line, colour(slices.Index(policies, l.of.row.Policy)), `stroke-width="0.7"`)
		}
		p.text(l.x0, l.y1-2.5, "start", `font-size="10.5"`, l.text)
	}
	for _, pt := range points { // on top of lines and labels
		v, ci := q.of(pt.row)
		tooltip := fmt.Sprintf("%s %s: %s, %.4g (%.4g to %.4g)", pt.row.Policy, pt.row.Setting, formatBytes(c.of(pt.row)), v, ci.Low, ci.High)
		p.marker(slices.Index(policies, pt.row.Policy), pt.x, pt.y, tooltip)
	}
}

// drawPolicy draws the intervals of a policy's points, joins the points and
// returns these lines. What lies at zero is not on the scale, and so not
// joined.
func drawPolicy(p *picture, index int, name string, points []point) []segment {
	var mine []point
	for _, pt := range points {
		if pt.row.Policy != name {
			continue
		}
		p.line(segment{pt.x, pt.low, pt.x, pt.high}, colour(index), `stroke-width="1.4" stroke-opacity="0.6"`)
		if !pt.zero {
			mine = append(mine, pt)
		}
	}
	slices.SortStableFunc(mine, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	var joined []segment
	for i := 1; i < len(mine); i++ {
		l := segment{mine[i-1].x, mine[i-1].y, mine[i].x, mine[i].y}
		p.line(l, colour(index), `stroke-width="1.6" stroke-opacity="0.75"`)
		joined = append(joined, l)
	}
	return joined
}

// legendColumns is how many policies one line names.
const legendColumns = 5

func drawLegend(p *picture, policies []string) {
	const width = 180
	columns := float64(min(legendColumns, len(policies)))
	for i, name := range policies {
		x := svgWidth/2 - columns*width/2 + float64(i%legendColumns)*width + 20
		y := float64(legendTop + i/legendColumns*legendStep)
		p.marker(i, x, y-4, name)
		p.text(x+12, y, "start", `font-size="13"`, name)
	}
}

// frame draws a panel's ground: grid, ticks and titles.
func (p *picture) frame(xa, ya axis, left, top, right, bottom float64) {
	const grid = `stroke-opacity="0.25"`
	for _, t := range ya.ticks {
		y := ya.at(t)
		p.line(segment{left, y, right, y}, neutral, grid)
		p.text(left-7, y+4, "end", "", ya.label(t))
	}
	for _, t := range xa.ticks {
		x := xa.at(t)
		p.line(segment{x, top, x, bottom}, neutral, grid)
		p.text(x, bottom+17, "middle", "", xa.label(t))
	}
	axisFrom := left
	if xa.zero { // a gap in the axis keeps zero from looking like a step of the scale
		axisFrom = left + zeroBand
		p.line(segment{left, bottom, axisFrom - 8, bottom}, neutral, "")
		p.line(segment{axisFrom - 11, bottom + 5, axisFrom - 5, bottom - 5}, neutral, "")
		p.line(segment{axisFrom - 3, bottom + 5, axisFrom + 3, bottom - 5}, neutral, "")
		p.text(xa.zeroAt, bottom+17, "middle", "", "0")
	}
	p.line(segment{axisFrom, bottom, right, bottom}, neutral, "")
	p.line(segment{left, top, left, bottom}, neutral, "")
	p.text((left+right)/2, bottom+37, "middle", `font-size="13"`, xa.title)
	p.turned(left-56, (top+bottom)/2, ya.title)
}
