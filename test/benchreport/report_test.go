// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package benchreport

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const lines = `{"program":"kpng nftables","services":10000,"endpoints":10,"start":1.15,"latency":4.9,"latencyHigh":6,"cpu":0.7,"memory":98,"peak":108}
{"program":"kpng nftables","services":1000,"endpoints":10,"start":9,"latency":9,"cpu":9,"memory":9}
{"program":"kube-proxy <x>","services":1000,"endpoints":10,"start":1.2,"latency":1073,"latencyHigh":1302,"cpu":2.5,"memory":92,"peak":92}
{"program":"kpng nftables","services":1000,"endpoints":10,"start":0.3,"latency":4,"latencyHigh":5,"cpu":0.5,"memory":40,"peak":41}
`

// report writes the report of the results in lines into a new directory, and returns it.
func report(t *testing.T, page string) (dir string) {
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "results"), []byte(lines), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page.md"), []byte(page), 0o600))
	all, err := Read(filepath.Join(dir, "results"))
	require.NoError(t, err)
	require.NoError(t, Write(all, filepath.Join(dir, "page.md"), Machine()))
	return dir
}

func read(t *testing.T, names ...string) string {
	data, err := os.ReadFile(filepath.Join(names...))
	require.NoError(t, err)
	return string(data)
}

func TestPageHasTheTableOfResults(t *testing.T) {
	dir := report(t, "# Performance\n\nText.\n")
	page := read(t, dir, "page.md")
	require.True(t, strings.HasPrefix(page, "# Performance\n\nText.\n\n"+beginMark+"\n"), page)
	require.Contains(t, page, "`make bench-report SIZES=\"1000 10000\"`")
	require.Contains(t, page, "\n| 1,000 | kpng nftables | 0.3 s | 4 ms (5 ms) | 0.5 ms | 40 MB (41 MB) |\n", "the last result counts")
	require.Contains(t, page, "\n| 1,000 | kube-proxy <x> | 1.2 s | 1,073 ms (1,302 ms) | 2.5 ms | 92 MB (92 MB) |\n")
	require.Contains(t, page, "\n| 10,000 | kpng nftables | 1.15 s |")
	require.NotContains(t, page, "| 9 s |")
	require.Regexp(t, `Machine: \d+ processors \(`, page)
	for _, link := range regexp.MustCompile(`\]\((images/[^)]+)\)`).FindAllStringSubmatch(page, -1) {
		require.FileExists(t, filepath.Join(dir, link[1]))
	}
	require.Equal(t, len(metrics()), strings.Count(page, "]("))
}

func TestPageKeepsWhatIsAroundTheSection(t *testing.T) {
	first := report(t, "# A\n")
	again := report(t, read(t, first, "page.md")+"\n## More\n")
	page := read(t, again, "page.md")
	require.Equal(t, 1, strings.Count(page, beginMark))
	require.True(t, strings.HasSuffix(page, endMark+"\n\n## More\n"))

	_, err := replaceSection(beginMark+"\n", "")
	require.ErrorContains(t, err, endMark)
}

// TestPlotsAreDocumentsWithAllPoints parses the plots and compares the coordinates with those of the axes.
func TestPlotsAreDocumentsWithAllPoints(t *testing.T) {
	dir := report(t, "")
	for _, m := range metrics() {
		var circles []point
		texts := ""
		for decoder := xml.NewDecoder(strings.NewReader(read(t, dir, "images", m.file))); ; {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			switch token := token.(type) {
			case xml.CharData:
				texts += string(token) + "\n"
			case xml.StartElement:
				if token.Name.Local == "circle" {
					circles = append(circles, point{number(t, token, "cx"), number(t, token, "cy")})
				}
			}
		}
		require.Len(t, circles, 3)
		require.Contains(t, texts, "\nkube-proxy <x>\n")
		require.Contains(t, texts, m.title)
		for _, c := range circles {
			require.True(t, c.x >= plotLeft && c.x <= plotRight && c.y >= plotTop && c.y <= plotBottom, "%v is outside", c)
		}
		require.InDelta(t, circles[0].x, circles[1].x, 0, "kube-proxy and kpng have a result for 1,000 Services")
		require.Less(t, circles[1].x, circles[2].x)
		require.Less(t, circles[0].y, circles[1].y, "a larger value is higher")
	}
}

func number(t *testing.T, e xml.StartElement, name string) float64 {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			v, err := strconv.ParseFloat(a.Value, 64)
			require.NoError(t, err)
			return v
		}
	}
	t.Fatalf("no attribute %s", name)
	return 0
}

func TestAxes(t *testing.T) {
	a := newAxis([]float64{1300, 44_000}, 0, 100)
	require.Equal(t, []float64{1000, 2000, 5000, 10_000, 20_000, 50_000}, a.ticks())
	require.InDelta(t, 0, a.at(1000), 1e-6)
	require.InDelta(t, 100, a.at(50_000), 1e-6)
	require.Equal(t, []float64{1, 10, 100, 1000, 10_000}, newAxis([]float64{1, 10_000}, 0, 1).ticks())
	one := newAxis([]float64{20}, 0, 100)
	require.InDelta(t, 50, one.at(20), 1e-6, "one value is in the middle")
	for v, want := range map[float64]string{0.123456: "0.123", 1.5: "1.5", 40: "40", 999: "999", 1073.4: "1,073", 44_000: "44,000", 1_234_567: "1,234,567"} {
		require.Equal(t, want, formatNumber(v))
	}
}

func TestResultsAreAppended(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	first, second := Result{Program: "a", Services: 2, CPU: 1.5}, Result{Program: "b", Services: 1}
	require.NoError(t, Append(file, first))
	require.NoError(t, Append(file, second))
	all, err := Read(file)
	require.NoError(t, err)
	require.Equal(t, []Result{second, first}, all)
}

func TestResultsAreChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	for text, want := range map[string]string{"": "no results", "{": "unexpected EOF", `{"services":1}`: "without program", `{"program":"x"}`: "without program"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := Read(file)
		require.ErrorContains(t, err, want)
	}
}
