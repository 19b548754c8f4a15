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
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// timeout is the maximum time until a change of the source reaches the store.
const timeout = 10 * time.Second

// An APIObject is a *corev1.Service, *discoveryv1.EndpointSlice, *corev1.Node or
// *networkingv1.ServiceCIDR, with its TypeMeta. The receiver may modify it.
type APIObject interface {
	metav1.Object
	runtime.Object
}

// A Harness is a watcher and the functions that change its source: either Apply and Delete,
// for a source of Kubernetes API objects, or Set and Remove, for any other source. Each law
// uses a harness of its own, from one goroutine. The functions fail the test that the harness
// was created for.
type Harness struct {
	// Watcher reads all kinds of objects with all names from the source.
	Watcher watchers.Watcher
	// Apply adds or replaces objects in the source, while the watcher runs or not. When it
	// returns, a watcher that starts receives them.
	Apply func(objects ...APIObject)
	// Delete deletes applied objects from the source, under the same conditions.
	Delete func(objects ...APIObject)
	// Set is Apply with the objects of package watchers: *Service, *EndpointSlice, *Node and
	// *ServiceCIDR. The source must represent all their fields that the laws use. The
	// receiver must not modify the objects.
	Set func(objects ...watchers.Object)
	// Remove is Delete with the objects of package watchers.
	Remove func(objects ...watchers.Object)
	// Annotation is the key of an annotation, "example.org/note" excepted, that the watcher
	// attaches to Services, EndpointSlices and Nodes as an extension with the same key. If it
	// is empty, the law about extensions is skipped.
	Annotation string
	// AllFields reports whether the source represents every field of the objects of package
	// watchers. It requires Set and Remove. If it is false, the law about all fields is
	// skipped.
	AllFields bool
	// Idle ends goroutines of the harness, such as those of idle connections to a test
	// server. It is called after Run has returned and before the suite looks for leaked
	// goroutines. nil has no effect.
	Idle func()
}

// TestWatcher checks the laws of [watchers.Watcher]. Each law is a subtest of t, with a harness
// whose source is empty:
//
//   - EmptySourceSyncs: the store is synced even if the source is empty.
//   - SyncedHoldsAll: a synced store holds everything that the source had.
//   - FollowsServices, FollowsEndpointSlices, FollowsNodes, FollowsServiceCIDRs: additions,
//     changes and deletions of each kind reach the store.
//   - FollowsExtensions: additions, changes and deletions of an extension reach the store.
//   - KeepsAllFields: objects in the store have all fields of those in the source.
//   - MetadataIsNotAChange: metadata that no proxy reads does not change the store.
//   - SliceChangesService: a slice whose Service label changes has only its new key.
//   - RunStops: Run returns nil when its context is done, and leaks no goroutine.
//   - RunCanBeRepeated: a second Run applies what changed since the first.
func TestWatcher(t *testing.T, newHarness func(t *testing.T) Harness) {
	for _, law := range laws() {
		t.Run(law.name, func(t *testing.T) {
			h := newHarness(t).withAPIObjects(t)
			if missing := law.missing(h); missing != "" {
				t.Skip("the harness has no " + missing)
			}
			law.check(t, h)
		})
	}
}

// withAPIObjects returns a harness with Apply and Delete, which convert the objects if h has
// Set and Remove.
func (h Harness) withAPIObjects(t testing.TB) Harness {
	t.Helper()
	ofAPI, ofLibrary := h.Apply != nil && h.Delete != nil, h.Set != nil && h.Remove != nil
	require.True(t, h.Watcher != nil && ofAPI != ofLibrary, "a Harness has a Watcher, and either Apply and Delete or Set and Remove")
	require.True(t, ofLibrary || !h.AllFields, "AllFields requires Set and Remove")
	if ofAPI {
		return h
	}
	converter := kubeapi.Converter{Filter: kubeapi.Filter{AllProxies: true}}
	if h.Annotation != "" {
		var err error
		converter.Extend, err = kubeapi.CopyKeys("annotation:" + h.Annotation)
		require.NoError(t, err)
	}
	converted := func(f func(...watchers.Object)) func(...APIObject) {
		return func(list ...APIObject) {
			objects := make([]watchers.Object, len(list))
			for i, o := range list {
				var err error
				objects[i], err = converter.Object(o)
				require.NoError(t, err)
			}
			f(objects...)
		}
	}
	h.Apply, h.Delete = converted(h.Set), converted(h.Remove)
	return h
}

type law struct {
	name  string
	check func(t testing.TB, h Harness)
	needs func(h Harness) (missing string) // nil if the law applies to every harness
}

// missing returns the field of a harness without which the law does not apply, or "".
func (l law) missing(h Harness) string {
	if l.needs == nil {
		return ""
	}
	return l.needs(h)
}

func laws() []law {
	return []law{
		{name: "EmptySourceSyncs", check: emptySourceSyncs},
		{name: "SyncedHoldsAll", check: syncedHoldsAll},
		{name: "FollowsServices", check: followsServices},
		{name: "FollowsEndpointSlices", check: followsEndpointSlices},
		{name: "FollowsNodes", check: followsNodes},
		{name: "FollowsServiceCIDRs", check: followsServiceCIDRs},
		{name: "FollowsExtensions", check: followsExtensions, needs: needsAnnotation},
		{name: "KeepsAllFields", check: keepsAllFields, needs: needsAllFields},
		{name: "MetadataIsNotAChange", check: metadataIsNotAChange},
		{name: "SliceChangesService", check: sliceChangesService},
		{name: "RunStops", check: runStops},
		{name: "RunCanBeRepeated", check: runCanBeRepeated},
	}
}

func emptySourceSyncs(t testing.TB, h Harness) {
	snap := start(t, h, watchers.NewStore()).synced()
	require.Equal(t, 1, snap.Len(), "the store of an empty source holds only the synced marker")
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
	r.await("a changed cluster IP", serves("web", "10.0.0.3"))
	h.Delete(service("web", "10.0.0.3"))
	r.await("the deletion of a Service", not(hasService("web")))
	h.Delete(service("before", "10.0.0.1"))
	snap := r.await("the deletion of a Service that existed before Run", not(hasService("before")))
	require.True(t, snap.Synced(), "a store stays synced")
}

func followsEndpointSlices(t testing.TB, h Harness) {
	h.Apply(slice("before", "web", "10.1.0.1"))
	r := start(t, h, watchers.NewStore())
	r.synced()
	h.Apply(slice("after", "web", "10.1.0.2"))
	r.await("a new slice", hasEndpoint("web", "after", "10.1.0.2"))
	h.Apply(slice("after", "web", "10.1.0.3"))
	r.await("a changed endpoint", hasEndpoint("web", "after", "10.1.0.3"))
	h.Delete(slice("after", "web", "10.1.0.3"))
	r.await("the deletion of a slice", not(hasSlice("web", "after")))
	h.Delete(slice("before", "web", "10.1.0.1"))
	snap := r.await("the deletion of a slice that existed before Run", not(hasSlice("web", "before")))
	require.True(t, snap.Synced(), "a store stays synced")
}

func followsServiceCIDRs(t testing.TB, h Harness) {
	h.Apply(serviceCIDR("before", "10.96.0.0/12"))
	r := start(t, h, watchers.NewStore())
	r.await("a ServiceCIDR that existed before Run", hasServiceCIDR("before", "10.96.0.0/12"))
	h.Apply(serviceCIDR("after", "10.0.0.0/16"))
	r.await("a new ServiceCIDR", hasServiceCIDR("after", "10.0.0.0/16"))
	h.Delete(serviceCIDR("before", "10.96.0.0/12"))
	r.await("the deletion of a ServiceCIDR", not(hasServiceCIDR("before", "10.96.0.0/12")))
}

func followsNodes(t testing.TB, h Harness) {
	h.Apply(node("before", "here"))
	r := start(t, h, watchers.NewStore())
	r.synced()
	h.Apply(node("after", "here"))
	r.await("a new node", hasNode("after", "here"))
	h.Apply(node("after", "there"))
	r.await("a changed zone", hasNode("after", "there"))
	h.Delete(node("after", "there"))
	r.await("the deletion of a node", not(nodeExists("after")))
	h.Delete(node("before", "here"))
	snap := r.await("the deletion of a node that existed before Run", not(nodeExists("before")))
	require.True(t, snap.Synced(), "a store stays synced")
}

// metadataIsNotAChange changes metadata of an object, and then adds another object of the same
// kind. When that is in the store, it must be the only change.
func metadataIsNotAChange(t testing.TB, h Harness) {
	h.Apply(service("web", "10.0.0.1"), slice("web-x", "web", "10.1.0.1"), node("n", "here"))
	r := start(t, h, watchers.NewStore())
	before := r.synced().Revision()
	for _, c := range []struct {
		changed, added APIObject
		isAdded        condition
	}{
		{withMetadata(service("web", "10.0.0.1")), service("next", "10.0.0.2"), serves("next", "10.0.0.2")},
		{withMetadata(slice("web-x", "web", "10.1.0.1")), slice("next", "web", "10.1.0.2"), hasEndpoint("web", "next", "10.1.0.2")},
		{withHeartbeat(node("n", "here")), node("next", "here"), hasNode("next", "here")},
	} {
		h.Apply(c.changed)
		h.Apply(c.added)
		after := r.await("an object that was added after a change of metadata", c.isAdded).Revision()
		require.Equal(t, before+1, after, "%T: metadata changed the store", c.changed)
		before = after
	}
}

func sliceChangesService(t testing.TB, h Harness) {
	h.Apply(slice("x", "web", "10.1.0.1"))
	r := start(t, h, watchers.NewStore())
	require.True(t, hasSlice("web", "x")(r.synced()))
	h.Apply(slice("x", "db", "10.1.0.1"))
	snap := r.await("a slice under its new Service", hasSlice("db", "x"))
	require.False(t, hasSlice("web", "x")(snap), "the slice is still under its old Service")
	h.Delete(slice("x", "db", "10.1.0.1"))
	r.await("the deletion of a slice whose Service changed", not(hasSlice("db", "x")))
}

func runStops(t testing.TB, h Harness) {
	h.Apply(service("web", "10.0.0.1"))
	before := goleak.IgnoreCurrent()
	store := watchers.NewStore()
	r := start(t, h, store)
	r.synced()
	r.stop()
	require.True(t, hasService("web")(store.Snapshot()), "the objects stay in the store")

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	startWith(ended, t, h, store).stop() // Run with a context that is done
	if h.Idle != nil {
		h.Idle()
	}
	require.NoError(t, goleak.Find(before), "Run leaked goroutines")
}

func runCanBeRepeated(t testing.TB, h Harness) {
	h.Apply(
		service("kept", "10.0.0.1"), service("deleted", "10.0.0.2"),
		slice("kept", "web", "10.1.0.1"), slice("moved", "web", "10.1.0.2"), slice("deleted", "web", "10.1.0.3"),
		node("kept", "here"), node("deleted", "here"))
	store := watchers.NewStore()
	r := start(t, h, store)
	r.synced()
	r.stop()

	h.Delete(service("deleted", "10.0.0.2"), slice("deleted", "web", "10.1.0.3"), node("deleted", "here"))
	h.Apply(slice("moved", "db", "10.1.0.2"), service("added", "10.0.0.4"), node("kept", "there"))

	r = start(t, h, store)
	snap := r.await("the changes between two calls of Run", all(
		serves("added", "10.0.0.4"), not(hasService("deleted")),
		hasSlice("db", "moved"), not(hasSlice("web", "moved")), not(hasSlice("web", "deleted")),
		hasNode("kept", "there"), not(nodeExists("deleted")),
	))
	require.True(t, serves("kept", "10.0.0.1")(snap))
	require.True(t, hasEndpoint("web", "kept", "10.1.0.1")(snap))
	h.Apply(service("later", "10.0.0.5"))
	r.await("a Service that was added during the second Run", hasService("later"))
}

// A runningWatcher is a call of Run in a goroutine.
type runningWatcher struct {
	t     testing.TB
	store *watchers.Store
	done  chan struct{} // closed when Run has returned
	err   error         // result of Run, valid once done is closed
	stop  func()        // cancels Run and waits for it; may be called repeatedly
}

func start(t testing.TB, h Harness, store *watchers.Store) *runningWatcher {
	return startWith(context.Background(), t, h, store)
}

func startWith(ctx context.Context, t testing.TB, h Harness, store *watchers.Store) *runningWatcher {
	ctx, cancel := context.WithCancel(ctx)
	r := &runningWatcher{t: t, store: store, done: make(chan struct{})}
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
				require.NoError(t, r.err, "Run must return nil when its context is done")
			case <-time.After(timeout):
				require.FailNow(t, "Run did not return after its context was done")
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// await waits for a snapshot that meets a condition, and returns it. what names it in errors.
func (r *runningWatcher) await(what string, ok condition) watchers.Snapshot {
	r.t.Helper()
	expired := time.After(timeout)
	for {
		snap := r.store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-r.done:
			require.FailNow(r.t, "Run returned before its context was done", "waiting for %s: %v", what, r.err)
		case <-expired:
			require.FailNow(r.t, "timeout", "waiting for %s", what)
		}
	}
}

func (r *runningWatcher) synced() watchers.Snapshot {
	r.t.Helper()
	return r.await("a synced store", watchers.Snapshot.Synced)
}
