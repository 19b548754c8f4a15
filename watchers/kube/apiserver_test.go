// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// An apiServer is a fake Kubernetes API server with the requests that a watcher sends:
// list, watch and streamed list, with selectors and a history of resource versions.
type apiServer struct {
	*httptest.Server
	closeIdle func() // closes the connections of the last client

	mu       sync.Mutex
	objects  map[string]runtime.Object // by path and name
	history  []change
	floor    int           // the last resource version that is not in history any more
	changed  chan struct{} // closed with each change; then replaced
	cut      chan struct{} // closed to end all watches; then replaced
	requests []url.Values  // the queries, with "path", "accept" and "agent" added

	plainListsOnly bool
	jsonOnly       bool
	hasFailed      bool                     // failStatus was set before
	failStatus     int                      // the status of every response, unless 0
	hold           map[string]chan struct{} // by path: requests wait until the channel is closed
}

type change struct {
	path            string
	old, new        runtime.Object // nil before creation, nil after deletion
	resourceVersion int
}

func newAPIServer(t testing.TB) *apiServer {
	s := &apiServer{objects: map[string]runtime.Object{}, changed: make(chan struct{}), cut: make(chan struct{}), hold: map[string]chan struct{}{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) client(t testing.TB) kubernetes.Interface {
	transport := &http.Transport{}
	s.closeIdle = func() { transport.CloseIdleConnections(); s.CloseClientConnections() }
	t.Cleanup(s.closeIdle)
	client, err := kubernetes.NewForConfig(Tuned(&rest.Config{Host: s.URL, Transport: transport}))
	require.NoError(t, err)
	return client
}

func pathOf(o runtime.Object) string {
	switch o.(type) {
	case *corev1.Service:
		return "/api/v1/services"
	case *discoveryv1.EndpointSlice:
		return "/apis/discovery.k8s.io/v1/endpointslices"
	case *networkingv1.ServiceCIDR:
		return "/apis/networking.k8s.io/v1/servicecidrs"
	case *corev1.Node:
		return "/api/v1/nodes"
	}
	panic(fmt.Sprintf("%T", o))
}

func idOf(o runtime.Object) string {
	m, _ := meta.Accessor(o)
	return pathOf(o) + " " + m.GetNamespace() + "/" + m.GetName()
}

// set creates or updates objects, each as a change of its own.
func (s *apiServer) set(objects ...runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		o = o.DeepCopyObject()
		s.record(change{path: pathOf(o), old: s.objects[idOf(o)], new: o})
	}
}

func (s *apiServer) delete(o runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(change{path: pathOf(o), old: s.objects[idOf(o)]})
}

func (s *apiServer) record(c change) {
	c.resourceVersion = s.resourceVersion() + 1
	if c.new != nil {
		m, _ := meta.Accessor(c.new)
		m.SetResourceVersion(strconv.Itoa(c.resourceVersion))
		s.objects[idOf(c.new)] = c.new
	} else {
		delete(s.objects, idOf(c.old))
	}
	s.history = append(s.history, c)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *apiServer) resourceVersion() int { return s.floor + len(s.history) }

// expireHistory makes every resource version so far too old to watch from.
func (s *apiServer) expireHistory() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floor, s.history = s.resourceVersion(), nil
}

// disconnect ends all watches. Unless failStatus is 0, later requests fail with it.
func (s *apiServer) disconnect(failStatus int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failStatus, s.hasFailed = failStatus, s.hasFailed || failStatus != 0
	close(s.cut)
	s.cut = make(chan struct{})
}

// restore lets requests succeed again.
func (s *apiServer) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failStatus = 0
}

// requestsTo returns the requests for a path so far.
func (s *apiServer) requestsTo(path string) (out []url.Values) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.requests {
		if q.Get("path") == path {
			out = append(out, q)
		}
	}
	return out
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	q.Set("path", r.URL.Path)
	q.Set("accept", r.Header.Get("Accept"))
	q.Set("agent", r.UserAgent())
	s.mu.Lock()
	s.requests = append(s.requests, q)
	hold, failStatus, cut := s.hold[r.URL.Path], s.failStatus, s.cut
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	watching, streamed := q.Get("watch") != "", q.Get("sendInitialEvents") == "true"
	switch {
	case failStatus != 0:
		fail(w, failStatus, "InternalError", "failure injected by the test")
	case streamed && s.plainListsOnly:
		fail(w, http.StatusUnprocessableEntity, "Invalid", "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
	case watching:
		s.serveWatch(w, r, q, streamed, cut)
	default:
		s.serveList(w, r, q)
	}
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status: "Failure", Code: int32(code), Reason: reason, Message: message})
}

// matches reports whether an object passes the selectors of a request.
func matches(o runtime.Object, q url.Values) bool {
	if o == nil {
		return false
	}
	m, _ := meta.Accessor(o)
	byLabel, err := labels.Parse(q.Get("labelSelector"))
	if err != nil {
		panic(err)
	}
	set := fields.Set{"metadata.name": m.GetName()}
	if svc, ok := o.(*corev1.Service); ok {
		set["spec.clusterIP"] = svc.Spec.ClusterIP
	}
	return byLabel.Matches(labels.Set(m.GetLabels())) && fields.ParseSelectorOrDie(q.Get("fieldSelector")).Matches(set)
}

func (s *apiServer) all(q url.Values) (out []runtime.Object) {
	for id, o := range s.objects {
		if strings.HasPrefix(id, q.Get("path")+" ") && matches(o, q) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b runtime.Object) int { return strings.Compare(idOf(a), idOf(b)) })
	return out
}

// withKind returns a copy of an object with its apiVersion and kind.
func withKind(o runtime.Object) runtime.Object {
	o = o.DeepCopyObject()
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		panic(err)
	}
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	return o
}

// negotiate returns the first encoding that a request accepts.
func (s *apiServer) negotiate(r *http.Request) runtime.SerializerInfo {
	supported := scheme.Codecs.SupportedMediaTypes()
	for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if info, ok := runtime.SerializerInfoForMediaType(supported, accepted); ok && (!s.jsonOnly || accepted == runtime.ContentTypeJSON) {
			return info
		}
	}
	panic("no encoding in " + r.Header.Get("Accept"))
}

func (s *apiServer) serveList(w http.ResponseWriter, r *http.Request, q url.Values) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list runtime.Object = &corev1.ServiceList{}
	switch {
	case strings.HasSuffix(q.Get("path"), "nodes"):
		list = &corev1.NodeList{}
	case strings.HasSuffix(q.Get("path"), "servicecidrs"):
		list = &networkingv1.ServiceCIDRList{}
	case strings.HasSuffix(q.Get("path"), "endpointslices"):
		list = &discoveryv1.EndpointSliceList{}
	}
	metadata, _ := meta.ListAccessor(list)
	metadata.SetResourceVersion(strconv.Itoa(s.resourceVersion()))
	if err := meta.SetList(list, s.all(q)); err != nil {
		panic(err)
	}
	info := s.negotiate(r)
	w.Header().Set("Content-Type", info.MediaType)
	_ = info.Serializer.Encode(withKind(list), w)
}

func (s *apiServer) serveWatch(w http.ResponseWriter, r *http.Request, q url.Values, streamed bool, cut chan struct{}) {
	at, _ := strconv.Atoi(q.Get("resourceVersion"))
	s.mu.Lock()
	tooOld := !streamed && at < s.floor
	s.mu.Unlock()
	if tooOld {
		fail(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
		return
	}
	info := s.negotiate(r)
	w.Header().Set("Content-Type", info.MediaType+";stream=watch")
	events := streaming.NewEncoder(info.StreamSerializer.NewFrameWriter(w), info.StreamSerializer.Serializer)
	send := func(kind string, object runtime.Object) {
		var data bytes.Buffer
		_ = info.Serializer.Encode(withKind(object), &data)
		_ = events.Encode(&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: data.Bytes()}})
	}
	if streamed {
		s.mu.Lock()
		at = s.resourceVersion()
		for _, o := range s.all(q) {
			send("ADDED", o)
		}
		s.mu.Unlock()
		send("BOOKMARK", bookmark(q.Get("path"), at))
	}
	for {
		s.mu.Lock()
		changed := s.changed
		for _, c := range s.history[max(0, min(at-s.floor, len(s.history))):] {
			at = c.resourceVersion
			if c.path != q.Get("path") {
				continue
			}
			switch before, after := matches(c.old, q), matches(c.new, q); {
			case before && after:
				send("MODIFIED", c.new)
			case after:
				send("ADDED", c.new)
			case before:
				m, _ := meta.Accessor(c.old.DeepCopyObject())
				m.SetResourceVersion(strconv.Itoa(c.resourceVersion))
				send("DELETED", m.(runtime.Object))
			}
		}
		s.mu.Unlock()
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func bookmark(path string, rv int) runtime.Object {
	m := metav1.ObjectMeta{ResourceVersion: strconv.Itoa(rv), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
	switch {
	case strings.HasSuffix(path, "nodes"):
		return &corev1.Node{ObjectMeta: m}
	case strings.HasSuffix(path, "services"):
		return &corev1.Service{ObjectMeta: m}
	case strings.HasSuffix(path, "servicecidrs"):
		return &networkingv1.ServiceCIDR{ObjectMeta: m}
	}
	return &discoveryv1.EndpointSlice{ObjectMeta: m}
}
