package eval

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// neutral is a grey that is legible on white and on black.
const neutral = "#737b85"

// picture is an SVG in the making.
type picture struct{ b strings.Builder }

func newPicture(width, height float64, title string) *picture {
	p := &picture{}
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img" font-family="system-ui, 'DejaVu Sans', Arial, sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&p.b, "<title>%s</title>\n", escape(title))
	return p
}

func (p *picture) end() string {
	p.b.WriteString("</svg>\n")
	return p.b.String()
}

func (p *picture) line(l segment, stroke, attributes string) {
	fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" %s/>`+"\n", l.x0, l.y0, l.x1, l.y1, stroke, attributes)
}

func (p *picture) text(x, y float64, anchor, attributes, s string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s" %s>%s</text>`+"\n", x, y, anchor, neutral, attributes, escape(s))
}

// turned writes upwards, centred.
func (p *picture) turned(x, y float64, s string) {
	fmt.Fprintf(&p.b, `<text transform="translate(%.1f %.1f) rotate(-90)" text-anchor="middle" font-size="13" fill="%s">%s</text>`+"\n", x, y, neutral, escape(s))
}

// colours are those of Okabe and Ito that stand out on white and on black;
// they differ for the colour-blind, too.
func colours() []string {
	return []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"}
}

func colour(i int) string { return colours()[i%len(colours())] }

// markers are paths around the origin.
func markers() []string {
	return []string{
		"M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", // circle
		"M-4.5-4.5h9v9h-9z",                    // square
		"M0-6L5.5 4h-11z",                      // triangle
		"M0-6.3L5.5 0L0 6.3L-5.5 0z",           // diamond
		"M0 6L5.5-4h-11z",                      // triangle on its tip
		"M-1.8-5.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7v-3.6h3.7z", // cross
	}
}

// marker draws the sign of a policy. With more policies than colours, the
// pairs of colour and form still differ.
func (p *picture) marker(i int, x, y float64, tooltip string) {
	m := markers()
	fmt.Fprintf(&p.b, `<path transform="translate(%.1f %.1f)" d="%s" fill="%s"><title>%s</title></path>`+"\n", x, y, m[(i+i/len(m))%len(m)], colour(i), escape(tooltip))
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
