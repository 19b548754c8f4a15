// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
)

// A heldBase is a shared base with its digest. A client holds tens of thousands, and reads one
// again only for a change, so they are held as messages, which are smaller. It is immutable.
type heldBase struct {
	name    localsink.ServiceName
	digest  uint64
	encoded string // a kpng.Service that fromService accepts
}

// A receivedBase is a base that is held from the next commit on.
type receivedBase struct {
	*heldBase
	base *overlay.Base // the content of encoded
}

// newReceivedBase returns the base in a message.
func newReceivedBase(name localsink.ServiceName, in *kpng.Service, digest uint64) (*receivedBase, error) {
	base, err := fromService(name, in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name.Object(), err)
	}
	return encoded(base, in, digest)
}

// apply returns h with the changes of a delta. What the message has besides endpoints and base has not,
// because this version of the client does not support it, stays.
func (h *heldBase) apply(delta *overlay.Delta, digest uint64) (*receivedBase, error) {
	in, base, err := h.message()
	if err != nil {
		return nil, err
	}
	if base, err = base.Apply(delta); err != nil {
		return nil, err
	}
	extended := false
	for i := range delta.Ports {
		n := delta.Ports[i].Port
		extended = extended || len(delta.Ports[i].Extensions) > 0
		from, to := &base.Ports[n], in.GetPorts()[n]
		to.Endpoints, to.EndpointExtensions = toEndpoints(from.Endpoints), nodestate.EndpointExtensions(from.EndpointExtensions, false)
	}
	if extended { // the limit is that of all extensions of a Service, not of those of each message
		if _, err = fromService(h.name, in); err != nil {
			return nil, fmt.Errorf("%s: with a delta: %w", h.name.Object(), err)
		}
	}
	return encoded(base, in, digest)
}

func encoded(base *overlay.Base, in *kpng.Service, digest uint64) (*receivedBase, error) {
	text, err := proto.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base.Name.Object(), err)
	}
	return &receivedBase{&heldBase{base.Name, digest, string(text)}, base}, nil
}

// message decodes h.
func (h *heldBase) message() (*kpng.Service, *overlay.Base, error) {
	in := &kpng.Service{}
	if err := proto.Unmarshal([]byte(h.encoded), in); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", h.name.Object(), err)
	}
	base, err := fromService(h.name, in)
	return in, base, err
}

// decode returns the base. If this package did not read what it writes, the base would have
// only a problem.
func (h *heldBase) decode() *overlay.Base {
	_, base, err := h.message()
	if err == nil {
		return base
	}
	return &overlay.Base{Name: h.name, Problems: []localsink.Problem{{
		Object: h.name.Object(), Field: "ports", Message: "internal error: the received state is not readable: " + err.Error(),
	}}}
}
