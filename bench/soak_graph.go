//go:build linux

package main

import (
	"bytes"
	"fmt"
)

// Sizes of the graph, in pixels: its panels stand one below the other.
const (
	graphWidth  = 900
	graphLeft   = 80
	panelHeight = 130
	panelGap    = 34
)

// soakGraph draws the samples as an SVG picture, a panel for each figure. Every panel
// begins at 0, so that a rise looks as large as it is.
func soakGraph(samples []sample) []byte {
	var b bytes.Buffer
	height := len(sampled)*(panelHeight+panelGap) + panelGap
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="#fff"/>`+"\n", graphWidth, height)
	last := 1.0
	if len(samples) > 0 {
		last = max(last, samples[len(samples)-1].Seconds)
	}
	for n, v := range sampled {
		unit, name := 1.0, v.name
		if name == "heap" || name == "memory" {
			unit, name = 1e6, name+", MB"
		}
		top := panelGap + n*(panelHeight+panelGap)
		most := 1.0
		for _, s := range samples {
			most = max(most, v.figure(s)/unit)
		}
		most *= 1.1
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", graphLeft, top-6, name)
		for _, part := range []float64{0, 0.5, 1} {
			y := float64(top) + panelHeight*(1-part)
			fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.4g</text>`+"\n",
				graphLeft, y, graphWidth-20, graphLeft-6, y+4, most*part)
		}
		b.WriteString(`<polyline fill="none" stroke="#1f77b4" stroke-width="1.5" points="`)
		for _, s := range samples {
			fmt.Fprintf(&b, "%.1f,%.1f ", graphLeft+s.Seconds/last*(graphWidth-20-graphLeft), float64(top)+panelHeight*(1-v.figure(s)/unit/most))
		}
		b.WriteString(`"/>` + "\n")
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%.0f minutes</text>`+"\n</svg>\n", graphWidth-20, height-8, last/60)
	return b.Bytes()
}
