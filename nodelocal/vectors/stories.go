// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package vectors

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

//go:embed testdata/*.txtar
var stories embed.FS

// A Story is a cluster that changes step by step, and what is expected of a node.
type Story struct {
	Name  string // without the suffix .txtar
	About string // one or two sentences
	Steps []Step // in order
}

// A Step is one file of a story.
type Step struct {
	Name string // without the suffix; unique among the steps of a story with the same kind
	Kind StepKind
	// Text is the content of the file.
	Text string
	// Rows are the rows of the contract in the name of an expectation, such as "IN-22".
	Rows []string
}

// A StepKind is what a step does.
type StepKind string

// Kinds of steps, named after the suffixes of files.
const (
	StepConfig StepKind = "config" // starts a new node
	StepApply  StepKind = "yaml"   // adds or replaces objects
	StepDelete StepKind = "delete" // deletes objects
	StepProbes StepKind = "probes" // expects outcomes of connections
	StepState  StepKind = "state"  // expects the desired state as this project prints it
)

// IsExpectation reports whether a step changes nothing and has a result.
func (k StepKind) IsExpectation() bool { return k == StepProbes || k == StepState }

// Stories returns the stories of this module, by name.
func Stories() ([]*Story, error) {
	dir, err := fs.Sub(stories, "testdata")
	if err != nil {
		return nil, err
	}
	return Load(dir)
}

// Load returns the stories in a directory: its files with the suffix .txtar, by name.
func Load(dir fs.FS) ([]*Story, error) {
	files, err := fs.Glob(dir, "*.txtar")
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("vectors: no files *.txtar")
	}
	var all []*Story
	for _, file := range files {
		data, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		s, err := Parse(strings.TrimSuffix(file, ".txtar"), data)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Parse returns the story of a txtar archive. An error names the story, the file and the line.
func Parse(name string, data []byte) (*Story, error) {
	archive := txtar.Parse(data)
	s := &Story{Name: name, About: strings.Join(strings.Fields(string(archive.Comment)), " ")}
	if s.About == "" {
		return nil, fmt.Errorf("story %s: no comment that describes it", name)
	}
	seen, configured := map[string]bool{}, false
	for _, f := range archive.Files {
		ext := path.Ext(f.Name)
		step := Step{Name: strings.TrimSuffix(f.Name, ext), Kind: StepKind(strings.TrimPrefix(ext, ".")), Text: string(f.Data)}
		if seen[f.Name] {
			return nil, fmt.Errorf("story %s: two files are named %q", name, f.Name)
		}
		seen[f.Name] = true
		configured = configured || step.Kind == StepConfig
		if step.Kind.IsExpectation() && !configured {
			return nil, fmt.Errorf("story %s: %s: no .config file before it", name, f.Name)
		}
		if err := step.validate(); err != nil {
			return nil, fmt.Errorf("story %s: %s: %w", name, f.Name, err)
		}
		if step.Kind.IsExpectation() {
			step.Rows = regexp.MustCompile(`\b(?:IN|SEL|DP|HC|CT|OP)-\d\db?\b`).FindAllString(step.Name, -1)
		}
		s.Steps = append(s.Steps, step)
	}
	if !slices.ContainsFunc(s.Steps, func(step Step) bool { return step.Kind.IsExpectation() }) {
		return nil, fmt.Errorf("story %s: no expectation", name)
	}
	return s, nil
}

// Format returns the archive of s. The names and texts of steps are kept, the layout of the
// comment is that of comment.
func (s *Story) Format(comment []byte) []byte {
	archive := &txtar.Archive{Comment: comment}
	for _, step := range s.Steps {
		archive.Files = append(archive.Files, txtar.File{Name: step.Name + "." + string(step.Kind), Data: []byte(step.Text)})
	}
	return txtar.Format(archive)
}

func (s *Step) validate() error {
	var err error
	switch s.Kind {
	case StepConfig, StepState:
	case StepApply:
		_, err = s.objects()
	case StepDelete:
		for _, w := range lines(s.Text) {
			if len(w) < 2 || len(w) > 3 {
				return fmt.Errorf("%q: want KIND NAME [ORIGIN]", strings.Join(w, " "))
			}
		}
	case StepProbes:
		_, err = s.probes()
	default:
		return fmt.Errorf("unknown kind of file %q", s.Kind)
	}
	return err
}

// lines returns the words of each line that is neither empty nor a comment.
func lines(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			all = append(all, words)
		}
	}
	return all
}

// joined returns the lines of lines, with single spaces.
func joined(text string) []string {
	var all []string
	for _, w := range lines(text) {
		all = append(all, strings.Join(w, " "))
	}
	return all
}

// objects returns the objects of a step as JSON.
func (s *Step) objects() ([]json.RawMessage, error) {
	var all []json.RawMessage
	for doc := range bytes.SplitSeq([]byte(s.Text), []byte("\n---\n")) {
		object, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", len(all)+1, err)
		}
		all = append(all, object)
	}
	return all, nil
}

// arrow separates a probe from its outcome.
const arrow = " -> "

// probes returns the probes of a step, each without its outcome.
func (s *Step) probes() ([]string, error) {
	var all []string
	for _, w := range lines(s.Text) {
		probe, _, found := strings.Cut(strings.Join(w, " "), arrow)
		if !found || len(strings.Fields(probe)) != 3 {
			return nil, fmt.Errorf("%q: want CLIENT PROTOCOL ADDRESS:PORT -> OUTCOME", strings.Join(w, " "))
		}
		all = append(all, probe)
	}
	return all, nil
}

// withOutcomes returns the text of a step of probes with other outcomes.
func (s *Step) withOutcomes(outcomes []string) string {
	var b strings.Builder
	for line := range strings.Lines(s.Text) {
		probe, _, found := strings.Cut(strings.Join(strings.Fields(line), " "), arrow)
		if !found || strings.HasPrefix(probe, "#") {
			b.WriteString(line)
			continue
		}
		b.WriteString(probe + arrow + outcomes[0] + "\n")
		outcomes = outcomes[1:]
	}
	return b.String()
}
