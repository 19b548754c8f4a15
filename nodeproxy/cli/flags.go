// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

// usagef returns an error about the command line.
func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{command.ErrUsage}, args...)...)
}

// usageOf returns err behind what it is about.
func usageOf(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }

// withLongFlags returns err with two dashes before the names of flags of package remoteflags.
func withLongFlags(err error) error {
	if err == nil {
		return nil
	}
	text := regexp.MustCompile(`(^|[\s(:;])-([a-z][a-z0-9-]+)`).ReplaceAllString(err.Error(), "$1--$2")
	return &flagError{error: err, text: text}
}

// A flagError is an error with another text.
type flagError struct {
	error
	text string
}

func (e *flagError) Error() string { return e.text }

func (e *flagError) Unwrap() error { return e.error }

// applyConfig sets the flags that the command line does not set to the values in a YAML file.
func applyConfig(fs *pflag.FlagSet, file string) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		return usagef("--config %s: %w", file, err)
	}
	var errs []error
	for name, value := range values {
		f := fs.Lookup(name)
		switch {
		case f == nil || name == "config" || name == "help":
			errs = append(errs, usagef("--config %s: %s: not a flag of this command", file, name))
		case !f.Changed:
			errs = append(errs, setFlag(fs, f, file, value))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return errors.Join(errs...)
}

// setFlag sets a flag to a value of a file: a list sets a repeatable flag.
func setFlag(fs *pflag.FlagSet, f *pflag.Flag, file string, value any) error {
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	var texts []string
	for _, v := range list {
		switch v := v.(type) {
		case float64: // as a flag has it: fmt prints 1e+06
			texts = append(texts, strconv.FormatFloat(v, 'f', -1, 64))
		case string, bool, int64:
			texts = append(texts, fmt.Sprint(v))
		default:
			return usagef("--config %s: %s: %v is not a text, a number or a boolean", file, f.Name, v)
		}
	}
	if _, repeatable := f.Value.(pflag.SliceValue); !repeatable {
		texts = []string{strings.Join(texts, ",")}
	}
	for _, text := range texts {
		if err := fs.Set(f.Name, text); err != nil {
			return usagef("--config %s: %w", file, err)
		}
	}
	return nil
}
