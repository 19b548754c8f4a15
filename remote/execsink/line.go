// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"google.golang.org/protobuf/proto"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
)

// encode returns the line of an update. With full, it is the complete state.
func encode(u *localsink.Update, revision uint64, full bool) ([]byte, error) {
	e := encoder{}
	fmt.Fprintf(&e.b, `{"revision":%d,"full":%t`, revision, full)
	if full || u.NodeChanged {
		e.b.WriteString(`,"node":`)
		e.message(nodestate.Node(u.Node))
	}
	e.b.WriteString(`,"changed":[`)
	if full {
		first := true
		for svc := range u.All.All() {
			e.separate(first)
			e.message(nodestate.Service(svc))
			first = false
		}
	} else {
		for i, svc := range u.Changed {
			e.separate(i == 0)
			e.message(nodestate.Service(svc))
		}
	}
	e.b.WriteString(`],"removed":[`)
	if !full {
		for i, svc := range u.Removed {
			e.separate(i == 0)
			e.text(svc.Name.String())
		}
	}
	e.b.WriteString("]}")
	return e.b.Bytes(), e.err
}

// An encoder writes JSON and holds the first error.
type encoder struct {
	b   bytes.Buffer
	err error
}

func (e *encoder) separate(first bool) {
	if !first {
		e.b.WriteByte(',')
	}
}

func (e *encoder) message(m proto.Message) {
	text, err := nodestate.JSON(m)
	e.err = errors.Join(e.err, err)
	e.b.Write(text)
}

func (e *encoder) text(s string) {
	text, err := json.Marshal(s)
	e.err = errors.Join(e.err, err)
	e.b.Write(text)
}

// parseAnswer returns nil if an answer acknowledges an update, and the error of the program
// otherwise. An answer of another form is fatal.
func parseAnswer(line []byte, revision uint64) error {
	var answer struct {
		OK    *json.Number `json:"ok"`
		Error *string      `json:"error"`
	}
	err := json.Unmarshal(line, &answer)
	switch {
	case err == nil && answer.Error != nil && answer.OK == nil:
		return fmt.Errorf("error of the program: %q", *answer.Error)
	case err != nil, answer.OK == nil, answer.Error != nil:
		const limit = 100
		return fatalError{fmt.Errorf(`answer %.*q: want {"ok":%d} or {"error":"..."}`, limit, line, revision)}
	case answer.OK.String() != strconv.FormatUint(revision, 10):
		return fatalError{fmt.Errorf("answer to update %s: want that to update %d", answer.OK, revision)}
	}
	return nil
}

// NewPrinter returns a sink that prints the lines that a program would receive, and needs no answer.
func NewPrinter(w io.Writer) localsink.Sink {
	p := &printer{out: w}
	return localsink.Func(p.sync)
}

// A printer is a sink that prints.
type printer struct {
	out      io.Writer
	revision uint64
}

func (p *printer) sync(_ context.Context, u *localsink.Update) error {
	line, err := encode(u, p.revision+1, p.revision == 0)
	if err != nil {
		return fmt.Errorf("encode update: %w", err)
	}
	p.revision++
	if _, err := p.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("print update: %w", err)
	}
	return nil
}
