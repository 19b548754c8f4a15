// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"log/slog"
	"slices"

	"sigs.k8s.io/kpng/watchers"
)

// A publisher writes the objects of a fileSet into a store and reports its errors.
type publisher struct {
	path     string
	store    *watchers.Store
	onErrors func([]*Error) // may be nil
	logger   *slog.Logger
	reported []string // the texts of the errors that were reported last
}

// publish replaces the objects in the store, in one transaction, and reports errs.
func (p *publisher) publish(objects []watchers.Object, errs []*Error) {
	p.store.Update(func(tx *watchers.Tx) {
		published := make(map[watchers.Key]struct{}, len(objects))
		for _, o := range objects {
			published[tx.Set(o)] = struct{}{}
		}
		tx.RetainAll(func(k watchers.Key) bool {
			_, ok := published[k]
			return ok
		})
		tx.SetSynced()
	})
	p.report(errs)
}

// report logs each new error, and calls onErrors if the errors have changed.
func (p *publisher) report(errs []*Error) {
	before := make(map[string]bool, len(p.reported))
	for _, text := range p.reported {
		before[text] = true
	}
	var texts []string
	for _, e := range errs {
		text := e.Error()
		texts = append(texts, text)
		if !before[text] {
			p.logger.Warn("Manifest error", "err", e)
		}
	}
	if slices.Equal(texts, p.reported) {
		return
	}
	p.reported = texts
	if len(texts) == 0 {
		p.logger.Info("Manifests are valid again", "path", p.path)
	}
	if p.onErrors != nil {
		p.onErrors(errs)
	}
}
