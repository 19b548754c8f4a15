// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// fieldManager is the name of this package in metadata.managedFields.
const fieldManager = "kpng-readiness"

// RemoveTaint removes all taints with a key from a Node, and no others. It reports whether there were
// any; a missing Node has none. An error is worth another call: the taints may have changed since they
// were read.
func RemoveTaint(ctx context.Context, client kubernetes.Interface, node, key string) (removed bool, err error) {
	removed, err = removeTaint(ctx, client, node, key)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return removed, err
}

// removeTaint is RemoveTaint, except that a missing Node is an error.
func removeTaint(ctx context.Context, client kubernetes.Interface, node, key string) (removed bool, err error) {
	object, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return false, err
	}
	patch := withoutTaint(object.Spec.Taints, key)
	if len(patch) == 0 {
		return false, nil
	}
	if object.UID != "" { // not a later Node of the same name
		patch = append([]operation{{Op: opTest, Path: "/metadata/uid", Value: string(object.UID)}}, patch...)
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return false, err
	}
	_, err = client.CoreV1().Nodes().Patch(ctx, node, types.JSONPatchType, data, metav1.PatchOptions{FieldManager: fieldManager})
	return err == nil, err
}

// An operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

const (
	opTest   = "test"
	opRemove = "remove"
)

// withoutTaint returns a patch that removes the taints with a key. It fails if another taint is at the
// place of one of them, and is not affected by other changes of the Node.
func withoutTaint(taints []corev1.Taint, key string) (patch []operation) {
	for i, taint := range slices.Backward(taints) { // so that no removal moves a later one
		if taint.Key == key {
			path := fmt.Sprintf("/spec/taints/%d", i)
			patch = append(patch, operation{Op: opTest, Path: path + "/key", Value: key},
				operation{Op: opTest, Path: path + "/effect", Value: string(taint.Effect)}, operation{Op: opRemove, Path: path})
		}
	}
	return patch
}

// removeAndReport removes the startup taint of a node, with a log line and an event. A missing Node
// is an error, which is not logged.
func removeAndReport(ctx context.Context, cfg *Config, node string, attempt int) error {
	removed, err := removeTaint(ctx, cfg.Client, node, cfg.StartupTaint)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil && attempt == 0 && ctx.Err() == nil:
		cfg.Logger.WarnContext(ctx, "Startup taint not removed, retrying", "node", node, "taint", cfg.StartupTaint, "err", err)
	case removed:
		cfg.Logger.InfoContext(ctx, "Startup taint removed", "node", node, "taint", cfg.StartupTaint)
		if cfg.Recorder != nil {
			reference := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node}
			cfg.Recorder.Eventf(reference, nil, corev1.EventTypeNormal, "StartupTaintRemoved", "RemoveTaint",
				"The Services are applied; removed the taint %s", cfg.StartupTaint)
		}
	}
	return err
}

// A TaintConfig configures a [Taint].
type TaintConfig struct {
	// Client reads and patches the Node. Required.
	Client kubernetes.Interface
	// NodeName is the name of the node. Required.
	NodeName string
	// Key is the key of the taint. Required.
	Key string
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// A Taint removes the startup taint of the node of this process.
type Taint struct {
	cfg     Config
	node    string
	applied chan struct{}
	once    sync.Once
}

// NewTaint returns a Taint. An error names the invalid field of cfg.
func NewTaint(cfg TaintConfig) (*Taint, error) {
	switch {
	case cfg.Client == nil:
		return nil, errors.New("readiness: Client: required")
	case cfg.NodeName == "":
		return nil, errors.New("readiness: NodeName: required")
	case cfg.Key == "":
		return nil, errors.New("readiness: Key: required")
	}
	if err := qualified("Key", cfg.Key); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Taint{
		cfg:  Config{Client: cfg.Client, StartupTaint: cfg.Key, Logger: cfg.Logger},
		node: cfg.NodeName, applied: make(chan struct{}),
	}, nil
}

// Applied states that the node has applied its first state, as AfterFirstSync of package nodeagent. It
// does not block, and may be called again.
func (t *Taint) Applied() { t.once.Do(func() { close(t.applied) }) }

// Run removes the taint after the first call of Applied, and tries again until that succeeds: the
// Node may not exist yet. It returns nil when the Node does not have the taint, or ctx is done.
func (t *Taint) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-t.applied:
	}
	backoff := minBackoff
	for attempt := 0; ; attempt++ {
		requestCtx, cancel := context.WithTimeout(ctx, requestTimeout)
		err := removeAndReport(requestCtx, &t.cfg, t.node, attempt)
		cancel()
		switch {
		case err == nil:
			return nil
		case attempt == 0 && apierrors.IsNotFound(err):
			t.cfg.Logger.InfoContext(ctx, "Node does not exist yet, waiting to remove its startup taint", "node", t.node, "taint", t.cfg.StartupTaint)
		}
		timer := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}
