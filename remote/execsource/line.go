// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsource

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
)

// An update is a line of the process.
type update struct {
	Revision *uint64           `json:"revision"`
	Full     bool              `json:"full"`
	Changed  []json.RawMessage `json:"changed"`
	Removed  []json.RawMessage `json:"removed"`
}

// A reader applies the lines of one process to a store.
type reader struct {
	decoder  *file.Decoder
	store    *watchers.Store
	logger   *slog.Logger
	synced   bool   // there was a full line
	revision uint64 // of the last line
}

// apply applies a line and returns the answer. An error means that the process must be restarted.
func (r *reader) apply(line []byte) (answer []byte, err error) {
	const limit = 100
	var u update
	if err := json.Unmarshal(line, &u); err != nil {
		return nil, fmt.Errorf("line %.*q: not an update: %w", limit, line, err)
	}
	if !r.synced && !u.Full {
		return nil, fmt.Errorf("line %.*q: the first update must have full: true", limit, line)
	}
	r.revision++
	if u.Revision != nil {
		r.revision = *u.Revision
	}
	r.synced = true
	changed, changedErr := r.decode(u.Changed, "changed")
	removed, removedErr := r.decode(u.Removed, "removed")
	r.store.Update(func(tx *watchers.Tx) { write(tx, u.Full, changed, removed) })
	if err := errors.Join(changedErr, removedErr); err != nil {
		r.logger.Warn("Objects of the source are invalid", "revision", r.revision, "err", err)
		return json.Marshal(map[string]string{"error": err.Error()})
	}
	return json.Marshal(map[string]uint64{"ok": r.revision})
}

// decode decodes a list of manifests, and returns the objects that have a name.
func (r *reader) decode(manifests []json.RawMessage, list string) ([]file.Decoded, error) {
	var all []file.Decoded
	var errs []error
	for i, manifest := range manifests {
		decoded := r.decoder.Decode(fmt.Sprintf("%s[%d]", list, i), manifest)
		if len(decoded) == 0 {
			errs = append(errs, fmt.Errorf("%s[%d]: not a Service, EndpointSlice, Node or ServiceCIDR", list, i))
		}
		for _, o := range decoded {
			if o.Name != "" {
				all = append(all, o)
			}
			if o.Err != nil && (list == "changed" || o.Name == "") { // what is removed needs only a name
				errs = append(errs, o.Err)
			}
		}
	}
	return all, errors.Join(errs...)
}

// write applies an update to a store. An invalid object is deleted only by a full update: the last
// valid one is better than none.
func write(tx *watchers.Tx, full bool, changed, removed []file.Decoded) {
	keep := map[watchers.Key]bool{}
	for _, o := range changed {
		switch {
		case o.Object != nil:
			keep[tx.Set(o.Object)] = true
		case o.Err == nil: // the filter excludes it
			o.Delete(tx)
		}
	}
	for _, o := range removed {
		o.Delete(tx)
	}
	if full {
		tx.RetainAll(func(k watchers.Key) bool { return keep[k] })
		tx.SetSynced()
	}
}
