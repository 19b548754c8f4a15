// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command sourcecheck checks the files of this repository for what the linters do not
// cover: licence headers, the sizes of files and functions, and the words in comments,
// messages and documents. It uses the standard library only, so that it runs wherever
// Go is installed.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// A finding is one place that breaks a rule. line is 0 for a whole file.
type finding struct {
	path string
	line int
	rule string
	text string
}

func (f finding) String() string {
	if f.line == 0 {
		return fmt.Sprintf("%s: %s: %s", f.path, f.rule, f.text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.path, f.line, f.rule, f.text)
}

const exceptionRule = "exception"

// An exception allows the findings in the file path whose text contains a string.
type exception struct {
	path, contains, reason string
}

// exempt returns findings without those that exceptions allow. An exception that allows
// no finding is a finding itself, so that the list does not outlive its reasons.
func exempt(findings []finding, exceptions []exception) (rest []finding) {
	used := make([]bool, len(exceptions))
	for _, f := range findings {
		allowed := false
		for i, e := range exceptions {
			if e.path == f.path && strings.Contains(f.text, e.contains) {
				used[i], allowed = true, true
			}
		}
		if !allowed {
			rest = append(rest, f)
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			rest = append(rest, finding{path: e.path, rule: exceptionRule, text: fmt.Sprintf("%q (%s) allows nothing", e.contains, e.reason)})
		}
	}
	return rest
}

// A check reads the files and returns its findings. It may print a summary to out.
type check struct {
	name, rule string
	run        func(files []file, out io.Writer) ([]finding, error)
}

func checks() []check {
	return []check{
		{"headers", "each source file starts with the copyright and SPDX lines", checkHeaders},
		{"sizes", sizesRule(), checkSizes},
		{"words", wordsRule(), checkWords},
	}
}

func main() {
	root := flag.String("root", ".", "directory that holds the repository")
	flag.Usage = usage
	flag.Parse()
	ok, err := run(*root, flag.Args(), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sourcecheck:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func usage() {
	out := flag.CommandLine.Output()
	fmt.Fprintln(out, "usage: sourcecheck [-root DIR] [CHECK ...]")
	flag.PrintDefaults()
	fmt.Fprintln(out, "checks (default: all):")
	for _, c := range checks() {
		fmt.Fprintf(out, "  %s\t%s\n", c.name, c.rule)
	}
}

// run reports whether the checks called names, or all if there are none, pass.
func run(root string, names []string, out io.Writer) (ok bool, err error) {
	selected, err := selectChecks(names)
	if err != nil {
		return false, err
	}
	files, err := readFiles(root)
	if err != nil {
		return false, err
	}
	ok = true
	for _, c := range selected {
		findings, err := c.run(files, out)
		if err != nil {
			return false, fmt.Errorf("%s: %w", c.name, err)
		}
		for _, f := range findings {
			fmt.Fprintln(out, f)
		}
		if len(findings) == 0 {
			fmt.Fprintf(out, "%s: ok (%s)\n", c.name, c.rule)
			continue
		}
		ok = false
		fmt.Fprintf(out, "%s: %d findings (%s)\n", c.name, len(findings), c.rule)
	}
	return ok, nil
}

func selectChecks(names []string) ([]check, error) {
	all := checks()
	if len(names) == 0 {
		return all, nil
	}
	var selected []check
	for _, name := range names {
		n := len(selected)
		for _, c := range all {
			if c.name == name {
				selected = append(selected, c)
			}
		}
		if len(selected) == n {
			return nil, fmt.Errorf("unknown check %q", name)
		}
	}
	return selected, nil
}
