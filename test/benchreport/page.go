// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package benchreport

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The part of the page between these lines is replaced. A page without them gets it at its end.
const (
	beginMark = "<!-- begin of make bench-report -->"
	endMark   = "<!-- end of make bench-report -->"
)

// section returns the part of the page that is about results. images is the directory of the plots,
// relative to the page.
func section(results []Result, machine, images string) string {
	var b strings.Builder
	b.WriteString(beginMark + "\n## By number of Services\n\n")
	sizes := make([]string, 0, len(results))
	for _, r := range results {
		if size := formatNumber(float64(r.Services)); !slices.Contains(sizes, size) {
			sizes = append(sizes, size)
		}
	}
	fmt.Fprintf(&b, "`make bench-report SIZES=\"%s\"`: each program by itself, under the same load from a real kube-apiserver, %d endpoints for\n"+
		"each Service. The agent is `kpng run --from node:ADDR --to nftables,conntrack,healthcheck`, without the server, which serves all nodes.\n"+
		"iptables is its legacy variant. %s.\n\n",
		strings.ReplaceAll(strings.Join(sizes, " "), ",", ""), results[0].Endpoints, machine)
	for _, m := range metrics() {
		fmt.Fprintf(&b, "![%s, by number of Services](%s/%s)\n", m.title, images, m.file)
	}
	b.WriteString("\n| Services | Program | Start | Write to connection, median (90 %) | CPU per change | Memory (maximum) |\n" +
		"| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %s | %s s | %s ms (%s ms) | %s ms | %s MB (%s MB) |\n", formatNumber(float64(r.Services)), r.Program,
			formatNumber(r.Start), formatNumber(r.Latency), formatNumber(r.LatencyHigh), formatNumber(r.CPU), formatNumber(r.Memory), formatNumber(r.Peak))
	}
	b.WriteString(endMark + "\n")
	return b.String()
}

// replaceSection returns the page with another section.
func replaceSection(page, section string) (string, error) {
	before, rest, found := strings.Cut(page, beginMark+"\n")
	if !found {
		return strings.TrimRight(page, "\n") + "\n\n" + section, nil
	}
	_, after, found := strings.Cut(rest, endMark+"\n")
	if !found {
		return "", fmt.Errorf("the line %q is missing", endMark)
	}
	return before + section + after, nil
}

// Machine returns a sentence about the machine of this process.
func Machine() string {
	model, kernel, memory := "unknown processor", "unknown kernel", ""
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		model = valueOf(string(data), "model name", model)
	}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		version, _, _ := strings.Cut(strings.TrimSpace(string(data)), "-") // without what a distribution adds
		kernel = "Linux " + version
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes float64
		if _, err := fmt.Sscan(valueOf(string(data), "MemTotal", ""), &kilobytes); err == nil {
			memory = fmt.Sprintf(", %.0f GB of memory", kilobytes/1e6)
		}
	}
	return fmt.Sprintf("Machine: %d processors (%s)%s, %s, %s", runtime.NumCPU(), model, memory, kernel, runtime.Version())
}

// valueOf returns the value of the first line "key: value".
func valueOf(text, key, otherwise string) string {
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}

// Write writes the plots into the directory images beside a page, and a section with them and a table into the page.
func Write(results []Result, page, machine string) error {
	const images = "images"
	dir := filepath.Join(filepath.Dir(page), images)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, m := range metrics() {
		c := m.plot(results)
		if len(c.series) == 0 {
			return fmt.Errorf("no result has a value of %q", m.title)
		}
		if err := os.WriteFile(filepath.Join(dir, m.file), c.svg(), 0o644); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	replaced, err := replaceSection(string(text), section(results, machine, images))
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, []byte(replaced), 0o644)
}
