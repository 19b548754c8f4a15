// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
)

const (
	workers    = 4
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	// requestTimeout bounds a request, so that a worker does not wait for a connection that has
	// failed.
	requestTimeout = 30 * time.Second
)

// A task is a node or a pod to be patched.
type task struct {
	node  string
	queue uint64 // of the node; see nodes
	pod   podID
}

// work is the workers of a Run with their queue.
type work struct {
	queue   workqueue.TypedRateLimitingInterface[task]
	running sync.WaitGroup
}

// start starts the workers. They call process for each task until it returns nil.
func (w *work) start(ctx context.Context, process func(ctx context.Context, t task, attempt int) error) {
	w.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[task](minBackoff, maxBackoff))
	for range workers {
		w.running.Go(func() {
			for w.next(ctx, process) {
				continue
			}
		})
	}
}

// next processes one task. It returns false when the queue is shut down.
func (w *work) next(ctx context.Context, process func(ctx context.Context, t task, attempt int) error) bool {
	t, shutdown := w.queue.Get()
	if shutdown {
		return false
	}
	defer w.queue.Done(t)
	requestCtx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := process(requestCtx, t, w.queue.NumRequeues(t)); err != nil && ctx.Err() == nil {
		w.queue.AddRateLimited(t)
	} else {
		w.queue.Forget(t)
	}
	return true
}

func (w *work) add(t task) { w.queue.Add(t) }

// stop ends the workers. Their context must be done.
func (w *work) stop() {
	w.queue.ShutDown()
	w.running.Wait()
}

// process reads and patches a node or a pod. It logs the first error of several in a row.
func (c *Controller) process(ctx context.Context, t task, attempt int) error {
	if t.node != "" {
		if !c.nodes.isQueued(t) {
			return nil
		}
		err := removeAndReport(ctx, &c.cfg, t.node, attempt)
		if apierrors.IsNotFound(err) {
			return nil // the source of the cluster state is late
		}
		return err
	}
	err := c.setCondition(ctx, t.pod)
	if err != nil && attempt == 0 && ctx.Err() == nil {
		c.cfg.Logger.WarnContext(ctx, "Condition of pod not set, retrying", "namespace", t.pod.namespace, "pod", t.pod.name, "err", err)
	}
	return err
}
