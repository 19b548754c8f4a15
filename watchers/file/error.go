// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"cmp"
	"fmt"
	"strings"
)

// An Error is a problem with a document, or with a whole file.
type Error struct {
	File string
	// Line is the line of the problem if it is known, or else the line at which the
	// document begins; 0 for a problem with the whole file.
	Line int
	// Document is the number of the document within the file, from 1; 0 for a problem with
	// the whole file. Documents without content are not counted.
	Document int
	// Item is the path of the object within a List or an array, as in "items[3]". It is
	// empty if the document is the object.
	Item string
	// Object names the invalid object, as in "Service default/web". It is empty if the
	// document does not contain kind and name.
	Object string
	Err    error
}

// Error returns "file:line: document 2: items[3]: object: err", without the parts that are
// unknown.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Document > 0 {
		fmt.Fprintf(&b, ": document %d", e.Document)
	}
	if e.Item != "" {
		b.WriteString(": " + e.Item)
	}
	if e.Object != "" {
		b.WriteString(": " + e.Object)
	}
	return b.String() + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func compareErrors(a, b *Error) int {
	return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Error(), b.Error()))
}
