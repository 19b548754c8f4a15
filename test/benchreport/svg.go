// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package benchreport

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// A chart has lines in a plane with two logarithmic axes.
type chart struct {
	title, xLabel, yLabel string
	series                []series
}

type series struct {
	name   string
	points []point // by x
}

// Both coordinates of a point are greater than 0.
type point struct{ x, y float64 }

// The layout of a chart, in units of the SVG.
const (
	chartWidth, chartHeight  = 720, 400
	plotLeft, plotTop        = 70, 50
	plotRight, plotBottom    = 530, 340
	legendLeft, legendHeight = 545, 20
)

// chartStyle follows the theme of the page. Series differ in dashes and marks too, not only in colour.
const chartStyle = `text { font: 13px sans-serif; fill: #1f2328 } .title { font-size: 15px; font-weight: bold }
.grid { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #3d444d } }`

// An axis maps the logarithm of values to coordinates.
type axis struct {
	low, high float64 // logarithms to base 10
	from, to  float64 // coordinates of low and high
}

func (a axis) at(v float64) float64 {
	return a.from + (math.Log10(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

// newAxis returns an axis that contains all values. Its ends are 1, 2 or 5 times a power of ten.
func newAxis(values []float64, from, to float64) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	a := axis{low: math.Log10(roundTo(low, false)), high: math.Log10(roundTo(high, true)), from: from, to: to}
	if a.low == a.high { // one value
		a.low, a.high = a.low-1, a.high+1
	}
	return a
}

// roundTo returns the next number of the form 1, 2 or 5 times a power of ten.
func roundTo(v float64, up bool) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	steps := []float64{1, 2, 5, 10}
	for i, step := range steps {
		switch {
		case up && v <= step*power*(1+1e-9):
			return step * power
		case !up && i > 0 && v < step*power*(1-1e-9):
			return steps[i-1] * power
		}
	}
	return 10 * power
}

// ticks returns the numbers of the form 1, 2 or 5 times a power of ten on the axis; only the powers if
// there are many.
func (a axis) ticks() (values []float64) {
	steps := []float64{1, 2, 5}
	if a.high-a.low > 3 {
		steps = []float64{1}
	}
	for e := math.Floor(a.low); e <= math.Ceil(a.high); e++ {
		for _, s := range steps {
			v := s * math.Pow(10, e)
			if l := math.Log10(v); l >= a.low-1e-9 && l <= a.high+1e-9 {
				values = append(values, v)
			}
		}
	}
	return values
}

// formatNumber returns a number with separators of thousands and without needless digits.
func formatNumber(v float64) string {
	text := fmt.Sprintf("%.3g", v)
	if v >= 100 {
		text = fmt.Sprintf("%.0f", v)
	}
	for i := len(text) - 3; i > 0 && v >= 1000; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// svg returns the chart as a document.
func (c chart) svg() []byte {
	var xs, ys []float64
	for _, s := range c.series {
		for _, p := range s.points {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	x, y := newAxis(xs, plotLeft, plotRight), newAxis(ys, plotBottom, plotTop)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">`+"\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.title), chartStyle)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="25">%s</text>`+"\n", plotLeft, escape(c.title))
	for _, v := range x.ticks() {
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %d V%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x.at(v), plotTop, plotBottom, x.at(v), plotBottom+20, formatNumber(v))
	}
	for _, v := range y.ticks() {
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1f H%d"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			plotLeft, y.at(v), plotRight, plotLeft-8, y.at(v)+4, formatNumber(v))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (plotLeft+plotRight)/2, plotBottom+42, escape(c.xLabel))
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotLeft-8, plotTop-12, escape(c.yLabel))
	for i, s := range c.series {
		writeSeries(&b, s, i, x, y)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// writeSeries draws a line with a mark at each point, and its entry in the legend.
func writeSeries(b *bytes.Buffer, s series, i int, x, y axis) {
	colours := []string{"#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#57606a", "#1b7c83"}
	dashes := []string{"", "6 3", "2 3", "8 3 2 3"}
	colour, dash := colours[i%len(colours)], dashes[i%len(dashes)]
	var line strings.Builder
	for n, p := range s.points {
		command := "L"
		if n == 0 {
			command = "M"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f ", command, x.at(p.x), y.at(p.y))
	}
	fmt.Fprintf(b, `<path class="line" stroke="%s" stroke-dasharray="%s" d="%s"/>`+"\n", colour, dash, strings.TrimSpace(line.String()))
	for _, p := range s.points {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%s, %s: %s</title></circle>`+"\n",
			x.at(p.x), y.at(p.y), colour, escape(s.name), formatNumber(p.x), formatNumber(p.y))
	}
	top := plotTop + 10 + i*legendHeight
	fmt.Fprintf(b, `<path class="line" stroke="%s" stroke-dasharray="%s" d="M%d %d h24"/><text x="%d" y="%d">%s</text>`+"\n",
		colour, dash, legendLeft, top-4, legendLeft+30, top, escape(s.name))
}

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes everything
	return b.String()
}
