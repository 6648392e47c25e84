//go:build linux

package main

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The size of a plot and of what stands around its area.
const (
	plotWidth, plotHeight        = 760, 400
	plotLeft, plotRight          = 78, 150
	plotTop, plotBottom          = 58, 52
	noteChars                    = 130 // of a line of notes
	barLabel, barHeight, barNote = 290, 34, 13
	plotHeader                   = 58
	style                        = `<style>
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif;fill:#1f2328}
.t{font-size:15px;font-weight:600}.n{font-size:10.5px}.k{font-weight:600}
.paper{fill:#ffffff}.grid{stroke:#d1d9e0}.s,.n,.soft{fill:#59636e}.lsoft{stroke:#59636e}
.a{fill:#0969da}.la{stroke:#0969da}.b{fill:#bc4c00}.lb{stroke:#bc4c00}.c{fill:#1a7f37}.lc{stroke:#1a7f37}
.d{fill:#8250df}.ld{stroke:#8250df}.peer{fill:#8c959f}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.paper{fill:#0d1117}.grid{stroke:#3d444d}.s,.n,.soft{fill:#9198a1}.lsoft{stroke:#9198a1}
.a{fill:#4493f8}.la{stroke:#4493f8}.b{fill:#f0883e}.lb{stroke:#f0883e}.c{fill:#3fb950}.lc{stroke:#3fb950}
.d{fill:#ab7df8}.ld{stroke:#ab7df8}.peer{fill:#656c76}}
</style>
`
)

// canvas is an SVG in the making. It has its own paper, so that it reads well on
// light and on dark pages, and on those of viewers that know neither.
type canvas struct{ b strings.Builder }

func newCanvas(height int, title, subtitle string) *canvas {
	c := &canvas{}
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, height, escaped(title))
	c.b.WriteString(style)
	c.add(`<rect width="%d" height="%d" rx="8" class="paper"/>`, plotWidth, height)
	c.text(16, 24, "start", "t", title)
	c.text(16, 42, "start", "s", subtitle)
	return c
}

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(&c.b, format+"\n", args...) }

func (c *canvas) text(x, y float64, anchor, class, s string) {
	c.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, escaped(s))
}

func (c *canvas) String() string { return c.b.String() + "</svg>\n" }

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // into memory
	return b.String()
}

// curve is a line of a chart.
type curve struct {
	name   string
	colour string // a class of the style, which is "l" and the class for lines
	dashed bool
	x, y   []float64
}

// chart is a plot of curves. Its x axis is logarithmic, its y axis on demand.
type chart struct {
	title, subtitle string
	xLabel          string
	logY            bool
	curves          []curve
}

// axis maps values to pixels.
type axis struct {
	from, to    float64 // of the values, after the logarithm
	at, until   float64 // of the pixels
	logarithmic bool
}

func (a axis) pixel(v float64) float64 {
	if a.logarithmic {
		v = math.Log10(v)
	}
	return a.at + (v-a.from)/(a.to-a.from)*(a.until-a.at)
}

func (ch chart) svg() string {
	var xs, ys []float64
	for _, k := range ch.curves {
		xs, ys = append(xs, k.x...), append(ys, k.y...)
	}
	if len(xs) == 0 {
		return ""
	}
	c := newCanvas(plotHeight, ch.title, ch.subtitle)
	x := axis{from: math.Log10(slices.Min(xs)), to: math.Log10(slices.Max(xs)), at: plotLeft, until: plotWidth - plotRight, logarithmic: true}
	y := axis{at: plotHeight - plotBottom, until: plotTop + 8, logarithmic: ch.logY}
	var ticks []float64
	if ch.logY {
		ticks = decades(slices.Min(ys), slices.Max(ys))
	} else {
		ticks = steps(slices.Max(ys))
	}
	first, last := ticks[0], ticks[len(ticks)-1]
	if y.from, y.to = first, last; ch.logY {
		y.from, y.to = math.Log10(first), math.Log10(last)
	}
	for _, t := range ticks {
		c.add(`<path d="M%d %.1fH%d" class="grid"/>`, plotLeft, y.pixel(t), plotWidth-plotRight)
		c.text(plotLeft-8, y.pixel(t)+4, "end", "s", short(t))
	}
	for _, v := range slices.Compact(slices.Sorted(slices.Values(xs))) {
		c.text(x.pixel(v), plotHeight-plotBottom+18, "middle", "s", short(v))
	}
	c.text((plotLeft+plotWidth-plotRight)/2, plotHeight-12, "middle", "s", ch.xLabel)
	end := func(k curve) float64 { return y.pixel(k.y[len(k.y)-1]) + 4 }
	slices.SortStableFunc(ch.curves, func(a, b curve) int { return cmp.Compare(end(a), end(b)) })
	free := 0.0 // from where on there is room for a name
	for _, k := range ch.curves {
		c.curve(k, x, y)
		at := max(end(k), free)
		free = at + 15
		c.text(plotWidth-plotRight+10, at, "start", "k "+k.colour, k.name)
	}
	return c.String()
}

func (c *canvas) curve(k curve, x, y axis) {
	var path strings.Builder
	for i := range k.x {
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x.pixel(k.x[i]), y.pixel(k.y[i]))
	}
	dash := ""
	if k.dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	c.add(`<path d="%s" fill="none" class="l%s" stroke-width="2.2"%s/>`, path.String(), k.colour, dash)
	if k.dashed {
		return
	}
	for i := range k.x {
		c.add(`<circle cx="%.1f" cy="%.1f" r="3.2" class="%s"/>`, x.pixel(k.x[i]), y.pixel(k.y[i]), k.colour)
	}
}

// bar is a row of a bar chart.
type bar struct {
	name   string
	note   string // beside the bar, in lines as short as they have to be
	value  float64
	colour string
}

// bars is a plot of horizontal bars.
type bars struct {
	title, subtitle string
	rows            []bar
}

func (bs bars) svg() string {
	if len(bs.rows) == 0 {
		return ""
	}
	area := float64(plotWidth - barLabel - 90)
	height := plotHeader
	for _, r := range bs.rows {
		height += barHeight + barNote*len(wrapped(r.note, noteChars))
	}
	c := newCanvas(height+8, bs.title, bs.subtitle)
	top := 0.0
	for _, r := range bs.rows {
		top = max(top, r.value)
	}
	y := float64(plotHeader)
	for _, r := range bs.rows {
		c.text(16, y+16, "start", "", r.name)
		length := max(1, r.value/top*area)
		c.add(`<rect x="%d" y="%.1f" width="%.1f" height="18" rx="3" class="%s"/>`, barLabel, y+3, length, r.colour)
		c.text(barLabel+length+8, y+16, "start", "", number(r.value))
		for i, line := range wrapped(r.note, noteChars) {
			c.text(16, y+31+float64(i*barNote), "start", "n", line)
		}
		y += float64(barHeight + barNote*len(wrapped(r.note, noteChars)))
	}
	return c.String()
}

// wrapped breaks a text into lines of so many letters.
func wrapped(s string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// steps returns round values from zero to above top.
func steps(top float64) []float64 {
	size := math.Pow(10, math.Floor(math.Log10(top/4)))
	for _, by := range []float64{1, 2, 2.5, 5, 10} {
		if top/(size*by) <= 6 {
			size *= by
			break
		}
	}
	ticks := []float64{0}
	for ticks[len(ticks)-1] < top {
		ticks = append(ticks, ticks[len(ticks)-1]+size)
	}
	return ticks
}

// decades returns powers of ten, and what is three times those, around the values.
func decades(from, to float64) []float64 {
	var ticks []float64
	for e := math.Floor(math.Log10(from)); ; e++ {
		for _, m := range []float64{1, 3} {
			t := m * math.Pow(10, e)
			if t*3.4 > from {
				ticks = append(ticks, t)
			}
			if t >= to {
				return ticks
			}
		}
	}
}

// short prints a label of an axis: 150k, 10M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return number(v/1e6) + "M"
	case v >= 1e3 && math.Mod(v, 100) == 0:
		return number(v/1e3) + "k"
	}
	return number(v)
}
