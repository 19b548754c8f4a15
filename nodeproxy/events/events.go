// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package events writes Kubernetes events about Services and the node. The
// caller chooses reasons and messages.
package events

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/localsink"
)

// A Recorder writes events in the background; equal ones are combined. Its methods may be
// called from any goroutine and never block.
type Recorder struct {
	events   events.EventRecorder
	shutdown func()
}

// Start returns a Recorder that writes through client until ctx is done, with component
// as reporting controller. It must be closed.
func Start(ctx context.Context, client kubernetes.Interface, component string) *Recorder {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	broadcaster.StartRecordingToSink(ctx.Done())
	return &Recorder{events: broadcaster.NewRecorder(scheme.Scheme, component), shutdown: broadcaster.Shutdown}
}

// New returns a Recorder that passes events on to recorder.
func New(recorder events.EventRecorder) *Recorder {
	return &Recorder{events: recorder, shutdown: func() {}}
}

// Close stops writing events. Further calls do nothing.
func (r *Recorder) Close() error {
	r.shutdown()
	return nil
}

// ServiceWarning records a warning about a Service; it is a problems.EventFunc.
func (r *Recorder) ServiceWarning(service localsink.ServiceName, reason, message string) {
	reference := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name}
	r.events.Eventf(reference, nil, corev1.EventTypeWarning, reason, "Program", "%s", message)
}

// ProxyStarting records that the proxy of a node starts, as kube-proxy does.
func (r *Recorder) ProxyStarting(node string) {
	reference := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node}
	r.events.Eventf(reference, nil, corev1.EventTypeNormal, "Starting", "StartKubeProxy", "")
}
