// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// maxPersonWords is the limit per 1,000 lines of comments.
const maxPersonWords = 3

const (
	personRule  = "person word in "
	privateRule = "private word in "
)

func wordsRule() string {
	return fmt.Sprintf("at most %d person words per 1,000 lines of comments, none in messages and names; no private vocabulary", maxPersonWords)
}

// checkWords looks for private vocabulary in all texts, and for person words in Go files:
// outside tests in all texts, in tests in names. Person words in comments are findings
// only if there are more than the limit allows.
func checkWords(files []file, out io.Writer) ([]finding, error) {
	texts, err := allTexts(files)
	if err != nil {
		return nil, err
	}
	vocabulary := newVocabulary()
	lines := map[string]int{} // lines of comments outside tests, by directory
	var findings []finding
	for _, t := range texts {
		findings = append(findings, vocabulary.private(t)...)
		if !isGo(t.path) {
			continue
		}
		if !isTest(t.path) || t.kind == kindName {
			findings = append(findings, vocabulary.person(t)...)
		}
		if !isTest(t.path) && t.kind == kindComment {
			lines[path.Dir(t.path)]++
		}
	}
	findings = exempt(findings, wordExceptions())
	slices.SortStableFunc(findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.line, b.line))
	})
	if summarise(out, lines, findings) {
		return findings, nil
	}
	return slices.DeleteFunc(findings, func(f finding) bool {
		allowed := f.rule == personRule+string(kindComment)
		if allowed {
			fmt.Fprintln(out, "within the limit:", f)
		}
		return allowed
	}), nil
}

// A vocabulary finds words in texts.
type vocabulary struct {
	persons *regexp.Regexp
	terms   []compiledTerm
}

type compiledTerm struct {
	term
	pattern, allow *regexp.Regexp // allow is nil if the term has none
}

func newVocabulary() vocabulary {
	v := vocabulary{persons: wholeWords(personWords)}
	for _, t := range privateTerms() {
		c := compiledTerm{term: t, pattern: wholeWords(t.pattern)}
		if t.allow != "" {
			c.allow = wholeWords(t.allow)
		}
		v.terms = append(v.terms, c)
	}
	return v
}

func wholeWords(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(` + pattern + `)\b`)
}

// person returns the person words in t.
func (v vocabulary) person(t text) (findings []finding) {
	for range v.persons.FindAllString(t.text, -1) {
		findings = append(findings, finding{t.path, t.line, personRule + string(t.kind), strings.TrimSpace(t.text)})
	}
	return findings
}

// private returns the private vocabulary in t.
func (v vocabulary) private(t text) (findings []finding) {
	for _, term := range v.terms {
		rest := t.text
		if term.allow != nil {
			rest = term.allow.ReplaceAllString(rest, "")
		}
		for _, word := range term.pattern.FindAllString(rest, -1) {
			explanation := fmt.Sprintf("%q, use: %s: %s", word, term.standard, strings.TrimSpace(t.text))
			findings = append(findings, finding{t.path, t.line, privateRule + string(t.kind), explanation})
		}
	}
	return findings
}

// summarise prints the number of findings for each directory, and reports whether
// comments outside tests have more person words than the limit allows.
func summarise(out io.Writer, lines map[string]int, findings []finding) (tooMany bool) {
	type key struct{ dir, rule string }
	counts := map[key]int{}
	persons, total := 0, 0
	dirs := maps.Clone(lines)
	for _, f := range findings {
		dir := path.Dir(f.path)
		dirs[dir] += 0
		rule := f.rule
		if strings.HasPrefix(rule, privateRule) {
			rule = privateRule
		}
		counts[key{dir, rule}]++
		if f.rule == personRule+string(kindComment) {
			persons++
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "directory\tcomment lines\tperson words\tin messages\tin names\tprivate words")
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		total += lines[dir]
		count := func(rule string) int { return counts[key{dir, rule}] }
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\n", dir, lines[dir], count(personRule+string(kindComment)),
			count(personRule+string(kindMessage)), count(personRule+string(kindName)), count(privateRule))
	}
	table.Flush()
	fmt.Fprintf(out, "%d person words in %d lines of comments: %.1f per 1,000, limit %d\n",
		persons, total, 1000*float64(persons)/float64(max(total, 1)), maxPersonWords)
	return persons*1000 > maxPersonWords*total
}
