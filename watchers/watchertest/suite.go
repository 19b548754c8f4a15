// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/kpng/watchers"
)

// patience is how long a watcher may take to notice anything.
const patience = 10 * time.Second

// An Object is a *corev1.Service, *discoveryv1.EndpointSlice or *corev1.Node, with
// its TypeMeta. It belongs to whom it is given to.
type Object interface {
	metav1.Object
	runtime.Object
}

// A Harness is a watcher and the means to change its source. It is made for one
// law and used by one goroutine. What fails in it fails the test it was made for.
type Harness struct {
	// Watcher reads the source, including every kind of object and every name.
	Watcher watchers.Watcher
	// Apply adds or replaces objects at the source. It returns when a watcher that
	// starts now would find them. The watcher may be running or not.
	Apply func(objects ...Object)
	// Delete removes objects that were applied; it is like Apply otherwise.
	Delete func(objects ...Object)
	// Idle ends what goes on beside the watcher and is not the watcher's to end,
	// such as idle connections to a test server; nil when there is nothing. It is
	// called after Run has returned and before goroutines are counted.
	Idle func()
}

// Test runs the laws of [watchers.Watcher], each as a subtest with a harness of
// its own whose source is empty.
func Test(t *testing.T, newHarness func(t *testing.T) Harness) {
	for _, law := range laws() {
		t.Run(law.name, func(t *testing.T) { law.check(t, newHarness(t)) })
	}
}

type law struct {
	name  string
	check func(t testing.TB, h Harness)
}

func laws() []law {
	return []law{
		{"EmptySourceSyncs", emptySourceSyncs},
		{"SyncedHoldsAll", syncedHoldsAll},
		{"FollowsServices", followsServices},
		{"FollowsEndpointSlices", followsEndpointSlices},
		{"FollowsNodes", followsNodes},
		{"FollowsServiceCIDRs", followsServiceCIDRs},
		{"MetadataIsNoChange", metadataIsNoChange},
		{"SliceMoves", sliceMoves},
		{"Stops", stops},
		{"RunsAgain", runsAgain},
	}
}

func emptySourceSyncs(t testing.TB, h Harness) {
	snap := start(t, h, watchers.NewStore()).synced()
	require.Equal(t, 1, snap.Len(), "an empty source has no facts but that they are complete")
}

func syncedHoldsAll(t testing.TB, h Harness) {
	const n = 30
	for i := range n {
		name := fmt.Sprintf("web-%d", i)
		h.Apply(service(name, "10.0.0.1"), slice(name+"-x", name, "10.1.0.1"), node(name, "here"))
	}
	snap := start(t, h, watchers.NewStore()).synced()
	for i := range n {
		name := fmt.Sprintf("web-%d", i)
		require.True(t, serves(name, "10.0.0.1")(snap), "Service %s is missing", name)
		require.True(t, hasEndpoint(name, name+"-x", "10.1.0.1")(snap), "the slice of %s is missing", name)
		require.True(t, hasNode(name, "here")(snap), "node %s is missing", name)
	}
	require.Equal(t, 3*n+1, snap.Len())
}

func followsServices(t testing.TB, h Harness) {
	h.Apply(service("before", "10.0.0.1"))
	r := start(t, h, watchers.NewStore())
	r.synced()
	h.Apply(service("web", "10.0.0.2"))
	r.await("a new Service", serves("web", "10.0.0.2"))
	h.Apply(service("web", "10.0.0.3"))
	r.await("another address", serves("web", "10.0.0.3"))
	h.Delete(service("web", "10.0.0.3"))
	r.await("the end of a Service", not(hasService("web")))
	h.Delete(service("before", "10.0.0.1"))
	snap := r.await("the end of a Service that was there before Run", not(hasService("before")))
	require.True(t, snap.Synced(), "a store stays synced")
}

func followsEndpointSlices(t testing.TB, h Harness) {
	h.Apply(slice("before", "web", "10.1.0.1"))
	r := start(t, h, watchers.NewStore())
	r.synced()
	h.Apply(slice("after", "web", "10.1.0.2"))
	r.await("a new slice", hasEndpoint("web", "after", "10.1.0.2"))
	h.Apply(slice("after", "web", "10.1.0.3"))
	r.await("another endpoint", hasEndpoint("web", "after", "10.1.0.3"))
	h.Delete(slice("after", "web", "10.1.0.3"))
	r.await("the end of a slice", not(hasSlice("web", "after")))
	h.Delete(slice("before", "web", "10.1.0.1"))
	snap := r.await("the end of a slice that was there before Run", not(hasSlice("web", "before")))
	require.True(t, snap.Synced(), "a store stays synced")
}

func followsServiceCIDRs(t testing.TB, h Harness) {
	h.Apply(serviceCIDR("before", "10.96.0.0/12"))
	r := start(t, h, watchers.NewStore())
	r.await("a network that was there before Run", hasNetwork("before", "10.96.0.0/12"))
	h.Apply(serviceCIDR("after", "10.0.0.0/16"))
	r.await("a new network", hasNetwork("after", "10.0.0.0/16"))
	h.Delete(serviceCIDR("before", "10.96.0.0/12"))
	r.await("the end of a network", not(hasNetwork("before", "10.96.0.0/12")))
}

func followsNodes(t testing.TB, h Harness) {
	h.Apply(node("before", "here"))
	r := start(t, h, watchers.NewStore())
	r.synced()
	h.Apply(node("after", "here"))
	r.await("a new node", hasNode("after", "here"))
	h.Apply(node("after", "there"))
	r.await("another zone", hasNode("after", "there"))
	h.Delete(node("after", "there"))
	r.await("the end of a node", not(nodeExists("after")))
	h.Delete(node("before", "here"))
	snap := r.await("the end of a node that was there before Run", not(nodeExists("before")))
	require.True(t, snap.Synced(), "a store stays synced")
}

// metadataIsNoChange writes to each object what no proxy reads, and then something
// real of the same kind: when that has arrived, the store may have had no change
// but that.
func metadataIsNoChange(t testing.TB, h Harness) {
	h.Apply(service("web", "10.0.0.1"), slice("web-x", "web", "10.1.0.1"), node("n", "here"))
	r := start(t, h, watchers.NewStore())
	before := r.synced().Revision()
	for _, c := range []struct {
		noise, barrier Object
		arrived        condition
	}{
		{noisyService("web", "10.0.0.1"), service("next", "10.0.0.2"), serves("next", "10.0.0.2")},
		{noisySlice("web-x", "web", "10.1.0.1"), slice("next", "web", "10.1.0.2"), hasEndpoint("web", "next", "10.1.0.2")},
		{noisyNode("n", "here"), node("next", "here"), hasNode("next", "here")},
	} {
		h.Apply(c.noise)
		h.Apply(c.barrier)
		after := r.await("an object after a write that changes nothing", c.arrived).Revision()
		require.Equal(t, before+1, after, "%T: metadata alone has changed the store", c.noise)
		before = after
	}
}

func sliceMoves(t testing.TB, h Harness) {
	h.Apply(slice("x", "web", "10.1.0.1"))
	r := start(t, h, watchers.NewStore())
	require.True(t, hasSlice("web", "x")(r.synced()))
	h.Apply(slice("x", "db", "10.1.0.1"))
	snap := r.await("a slice under its new Service", hasSlice("db", "x"))
	require.False(t, hasSlice("web", "x")(snap), "the slice is still under its old Service")
	h.Delete(slice("x", "db", "10.1.0.1"))
	r.await("the end of a slice that has moved", not(hasSlice("db", "x")))
}

func stops(t testing.TB, h Harness) {
	h.Apply(service("web", "10.0.0.1"))
	before := goleak.IgnoreCurrent()
	store := watchers.NewStore()
	r := start(t, h, store)
	r.synced()
	r.stop()
	require.True(t, hasService("web")(store.Snapshot()), "what was learnt is kept")

	done, cancel := context.WithCancel(context.Background())
	cancel()
	startWith(done, t, h, store).stop() // Run when everything is over already
	if h.Idle != nil {
		h.Idle()
	}
	require.NoError(t, goleak.Find(before), "Run has left goroutines behind")
}

func runsAgain(t testing.TB, h Harness) {
	h.Apply(
		service("stays", "10.0.0.1"), service("goes", "10.0.0.2"),
		slice("stays", "web", "10.1.0.1"), slice("moves", "web", "10.1.0.2"), slice("goes", "web", "10.1.0.3"),
		node("stays", "here"), node("goes", "here"))
	store := watchers.NewStore()
	r := start(t, h, store)
	r.synced()
	r.stop()

	h.Delete(service("goes", "10.0.0.2"), slice("goes", "web", "10.1.0.3"), node("goes", "here"))
	h.Apply(slice("moves", "db", "10.1.0.2"), service("comes", "10.0.0.4"), node("stays", "there"))

	r = start(t, h, store)
	snap := r.await("what has changed between two Runs", all(
		serves("comes", "10.0.0.4"), not(hasService("goes")),
		hasSlice("db", "moves"), not(hasSlice("web", "moves")), not(hasSlice("web", "goes")),
		hasNode("stays", "there"), not(nodeExists("goes")),
	))
	require.True(t, serves("stays", "10.0.0.1")(snap))
	require.True(t, hasEndpoint("web", "stays", "10.1.0.1")(snap))
	h.Apply(service("later", "10.0.0.5"))
	r.await("a Service that is added during the second Run", hasService("later"))
}

// A running is a call of Run that has not been stopped yet.
type running struct {
	t     testing.TB
	store *watchers.Store
	done  chan struct{} // closed when Run has returned
	err   error         // what it returned
	stop  func()        // cancels Run and waits for it; may be called again
}

func start(t testing.TB, h Harness, store *watchers.Store) *running {
	return startWith(context.Background(), t, h, store)
}

func startWith(ctx context.Context, t testing.TB, h Harness, store *watchers.Store) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{t: t, store: store, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = h.Watcher.Run(ctx, store)
	}()
	var once sync.Once
	r.stop = func() {
		cancel()
		once.Do(func() {
			select {
			case <-r.done:
				require.NoError(t, r.err, "Run returns nil when its context is done")
			case <-time.After(patience):
				require.FailNow(t, "Run does not return when its context is done")
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// await waits for a snapshot that meets a condition, and returns it.
func (r *running) await(what string, ok condition) watchers.Snapshot {
	r.t.Helper()
	late := time.After(patience)
	for {
		snap := r.store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-r.done:
			require.FailNow(r.t, "Run has returned too early", "waiting for %s: %v", what, r.err)
		case <-late:
			require.FailNow(r.t, "nothing came", "waiting for %s", what)
		}
	}
}

func (r *running) synced() watchers.Snapshot {
	r.t.Helper()
	return r.await("the first complete state", watchers.Snapshot.Synced)
}
