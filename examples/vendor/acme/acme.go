// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package acme is a plugin with three annotations that the library does not know: a source
// that checks them, a policy that turns one into a selection of endpoints, and a backend that
// reads the others.
package acme

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// The annotations of Services.
const (
	AnnotationMode      = "acme.example/load-balancer-mode"
	AnnotationPreserve  = "acme.example/preserve-destination"
	AnnotationAlgorithm = "acme.example/lb-algorithm"
)

// Extend copies the annotations of Services. A mode that is not known becomes a Problem of the
// Service, which users see in its events and on the state page.
func Extend() (kubeapi.Extend, error) {
	copied, err := kubeapi.CopyKeys("service:annotation:"+AnnotationPreserve, "service:annotation:"+AnnotationAlgorithm)
	if err != nil {
		return nil, err
	}
	return func(object metav1.Object) (watchers.Extensions, []watchers.Problem) {
		extensions, problems := copied(object)
		_, isService := object.(*corev1.Service)
		switch mode, found := object.GetAnnotations()[AnnotationMode]; {
		case !found || !isService:
		case mode == "nat" || mode == "dsr":
			extensions = extensions.With(localsink.NewExtensions(localsink.Extension{Key: AnnotationMode, Value: mode}))
		default:
			problems = append(problems, watchers.Problem{
				Field:   fmt.Sprintf("metadata.annotations[%s]", AnnotationMode),
				Message: fmt.Sprintf("%q is not nat or dsr; ignored", mode),
			})
		}
		return extensions, problems
	}, nil
}

// NewPolicy returns a policy that selects endpoints with the algorithm of the annotation.
func NewPolicy() nodelocal.Policy {
	algorithm := localsink.NewAccessor(AnnotationAlgorithm, func(v string) (localsink.Selection, error) {
		switch v {
		case "random":
			return localsink.SelectionRandom, nil
		case "maglev":
			return localsink.SelectionClient, nil
		case "least-connections":
			return localsink.SelectionLeastConnections, nil
		}
		return 0, fmt.Errorf("%s: %q is not random, maglev or least-connections", AnnotationAlgorithm, v)
	})
	return func(svc *watchers.Service, port *nodelocal.PolicyPort) error {
		selection, found, err := algorithm.Get(svc.Extensions)
		if found && err == nil {
			port.Selection = selection
		}
		return err
	}
}

// A Backend is a localsink.Sink whose dataplane is a text.
type Backend struct {
	mode      *localsink.Accessor[string]
	preserve  *localsink.Accessor[bool]
	dataplane string
}

// NewBackend returns a Backend.
func NewBackend() *Backend {
	return &Backend{
		mode:     localsink.NewAccessor(AnnotationMode, func(v string) (string, error) { return v, nil }),
		preserve: localsink.NewAccessor(AnnotationPreserve, strconv.ParseBool),
	}
}

// Sync implements localsink.Sink.
func (b *Backend) Sync(_ context.Context, u *localsink.Update) error {
	var text strings.Builder
	for svc := range u.All.All() {
		for _, port := range svc.Ports {
			for _, fe := range port.Frontends {
				fmt.Fprintf(&text, "%v %v %v mode=%s preserve=%t", port.Protocol, fe.Addr, port.Selection,
					b.mode.Or(svc.Extensions, "nat"), b.preserve.Or(svc.Extensions, false))
				for _, ep := range port.Pools[fe.Routes[len(fe.Routes)-1].Pool].Endpoints {
					fmt.Fprintf(&text, " %v", ep.Addr)
				}
				text.WriteString("\n")
			}
		}
		for _, problem := range svc.Problems {
			text.WriteString(problem.String() + "\n")
		}
	}
	b.dataplane = text.String()
	return nil
}

// String returns the dataplane. It must not be called concurrently with Sync.
func (b *Backend) String() string { return b.dataplane }
