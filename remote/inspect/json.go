// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/json"

	"google.golang.org/protobuf/proto"

	"sigs.k8s.io/kpng/remote/internal/nodestate"
)

// printJSON prints a message over several lines.
func (q *query) printJSON(m proto.Message) error {
	line, err := nodestate.JSON(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = q.Out.Write(b.Bytes())
	return err
}

// printLine prints a message on one line.
func (q *query) printLine(m proto.Message) error {
	line, err := nodestate.JSON(m)
	if err != nil {
		return err
	}
	_, err = q.Out.Write(append(line, '\n'))
	return err
}
