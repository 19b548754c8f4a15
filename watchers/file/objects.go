// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"fmt"
	"hash/maphash"
	"log/slog"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A Decoder decodes manifests that come from elsewhere than files, with the same defaults and
// checks. It must not be used concurrently.
type Decoder struct{ decoder decoder }

// NewDecoder returns a decoder. It uses Filter, Extend and Logger of cfg.
func NewDecoder(cfg Config) (*Decoder, error) {
	if err := cfg.Filter.Validate(); err != nil {
		return nil, fmt.Errorf("watchers/file: Config.Filter: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	converter := kubeapi.Converter{Filter: cfg.Filter, Extend: cfg.Extend}
	return &Decoder{decoder{converter: converter, logger: cfg.Logger, seed: maphash.MakeSeed(), loggedKinds: map[string]bool{}}}, nil
}

// A Decoded is an object of a manifest.
type Decoded struct {
	// Kind, Namespace and Name identify the object. They are empty if the manifest is not
	// usable.
	Kind, Namespace, Name string
	// Object is nil if the filter excludes the object, or if there is an error. Its Problems
	// list the fields that are ignored.
	Object watchers.Object
	// Err is nil, or an [*Error].
	Err error
}

// Decode decodes the objects of one or more documents, in JSON or YAML. name is the file in
// errors. Objects of other kinds than Service, EndpointSlice, Node and ServiceCIDR are ignored.
func (d *Decoder) Decode(name string, manifest []byte) []Decoded {
	var all []Decoded
	for _, e := range d.decoder.decode(name, manifest).entries {
		o := Decoded{Kind: e.id.kind, Namespace: e.id.namespace, Name: e.id.name}
		if e.err != nil {
			o.Err = e.err
		} else {
			o.Object = e.object
		}
		all = append(all, o)
	}
	return all
}

// Delete deletes the object that o identifies from a store.
func (o Decoded) Delete(tx *watchers.Tx) {
	switch o.Kind {
	case "Service":
		tx.DeleteService(watchers.ServiceName{Namespace: o.Namespace, Name: o.Name})
	case "EndpointSlice":
		tx.DeleteEndpointSlice(o.Namespace, o.Name)
	case "Node":
		tx.DeleteNode(o.Name)
	case "ServiceCIDR":
		tx.DeleteServiceCIDR(o.Name)
	}
}
