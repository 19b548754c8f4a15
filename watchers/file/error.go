// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"cmp"
	"fmt"
	"strings"
)

// An Error says what is wrong with a document, or with a whole file.
type Error struct {
	File string
	// Line is where the fault is, or else where the document begins; 0 for a whole
	// file.
	Line int
	// Object names the object at fault, "Service default/web", as far as the
	// document tells; it may be empty.
	Object string
	Err    error
}

// Error returns "file:line: object: what is wrong".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Object != "" {
		b.WriteString(": " + e.Object)
	}
	return b.String() + ": " + e.Err.Error()
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

func compareErrors(a, b *Error) int {
	return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Error(), b.Error()))
}
