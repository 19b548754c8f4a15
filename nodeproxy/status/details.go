// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"io"
)

// A Detail is a part of /state that a backend adds, such as how full its tables are.
type Detail struct {
	// Name is the heading, and the name of the field below "details" in JSON.
	Name string
	// Value is what JSON has.
	Value any
	// Lines is the same as text.
	Lines []string
}

// A Detailer is a localsink.Sink that adds details. Calls may overlap with each other and with
// Sync.
type Detailer interface {
	StateDetails(ctx context.Context) []Detail
}

// detailsByName returns what JSON has, nil for no details.
func detailsByName(all []Detail) map[string]any {
	if len(all) == 0 {
		return nil
	}
	byName := map[string]any{}
	for _, d := range all {
		byName[d.Name] = d.Value
	}
	return byName
}

func writeDetails(w io.Writer, all []Detail) {
	for _, d := range all {
		fmt.Fprintf(w, "# %s\n", d.Name)
		for _, line := range d.Lines {
			fmt.Fprintln(w, line)
		}
	}
}
