package eval

import "math"

// box is a rectangle in pixels.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) overlap(c box) float64 {
	w := math.Min(b.x1, c.x1) - math.Max(b.x0, c.x0)
	h := math.Min(b.y1, c.y1) - math.Max(b.y0, c.y0)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h
}

func (b box) grown(by float64) box { return box{b.x0 - by, b.y0 - by, b.x1 + by, b.y1 + by} }

func (b box) area() float64 { return (b.x1 - b.x0) * (b.y1 - b.y0) }

// segment is a straight line in pixels.
type segment struct{ x0, y0, x1, y1 float64 }

// inside is the length of the line within a box, by samples.
func (l segment) inside(b box) float64 {
	const samples = 128
	n := 0
	for i := range samples {
		t := (float64(i) + 0.5) / samples
		x, y := l.x0+t*(l.x1-l.x0), l.y0+t*(l.y1-l.y0)
		if x >= b.x0 && x <= b.x1 && y >= b.y0 && y <= b.y1 {
			n++
		}
	}
	return math.Hypot(l.x1-l.x0, l.y1-l.y0) * float64(n) / samples
}

type label struct {
	box
	text string
	of   point
}

// placeLabels puts a label beside every point, where it covers least.
func placeLabels(points []point, lines []segment, panel box) []label {
	var labels []label
	for _, pt := range points {
		best, least := label{}, math.Inf(1)
		for i, l := range labelPlaces(pt) {
			// Near places come first: with equal cost, the first one is taken.
			if c := labelCost(l, points, lines, labels, panel) + 3*float64(i); c < least {
				best, least = l, c
			}
		}
		labels = append(labels, best)
	}
	return labels
}

// labelPlaces lists the places around a point, near ones first.
func labelPlaces(pt point) []label {
	const glyph, height = 6.0, 12.0 // of the label's font, on average
	w := glyph * float64(len([]rune(pt.row.Setting)))
	var places []label
	for _, gap := range []float64{8, 15, 24, 36} {
		for _, d := range [][2]float64{{1, 0}, {1, -1}, {1, 1}, {-1, 0}, {-1, -1}, {-1, 1}, {0, -1}, {0, 1}} {
			cx := pt.x + d[0]*(gap+w/2)
			cy := pt.y + d[1]*(gap+height/2-2)
			places = append(places, label{box{cx - w/2, cy - height/2, cx + w/2, cy + height/2}, pt.row.Setting, pt})
		}
	}
	return places
}

// labelCost is the area that a label covers, weighed by what is below.
func labelCost(l label, points []point, lines []segment, labels []label, panel box) float64 {
	cost := 8 * (l.area() - l.overlap(panel))
	for _, o := range labels {
		cost += 5 * l.overlap(o.grown(3))
	}
	for _, line := range lines {
		cost += 4 * line.inside(l.box)
	}
	for _, pt := range points {
		at := box{pt.x, pt.y, pt.x, pt.y}
		cost += 5 * l.overlap(at.grown(6))
		if pt != l.of { // a label next to another point reads as that one's
			cost += 0.5 * l.overlap(at.grown(14))
		}
		cost += l.overlap(box{pt.x - 1, math.Min(pt.low, pt.high), pt.x + 1, math.Max(pt.low, pt.high)})
	}
	return cost
}

// leader leads from a label to its point where the two are not side by side.
func (l label) leader() (segment, bool) {
	x := min(max(l.of.x, l.x0), l.x1)
	y := min(max(l.of.y, l.y0+2), l.y1-2)
	return segment{l.of.x, l.of.y, x, y}, math.Hypot(x-l.of.x, y-l.of.y) > 13
}
