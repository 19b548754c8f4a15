// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A fixture is an engine with the store of another source.
type fixture struct {
	t      testing.TB
	inner  *watchers.Store
	reader *diffstore.Reader[watchers.Key, watchers.Object]
	engine *engine
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, inner: watchers.NewStore(), engine: newEngine(DefaultControllerName, watchers.NewStore())}
	f.reader = f.inner.Reader()
	t.Cleanup(f.reader.Close)
	f.apply("{kind: GatewayClass, metadata: {name: kpng}, spec: {controllerName: sigs.k8s.io/kpng}}")
	return f
}

// apply adds or replaces the objects of a YAML document each.
func (f *fixture) apply(text string) { f.each(text, f.applyOne) }

// delete deletes the objects.
func (f *fixture) delete(text string) {
	f.each(text, func(u *unstructured.Unstructured) {
		switch u.GetKind() {
		case "Service", "EndpointSlice":
			object := f.convert(u)
			f.change(func(tx *watchers.Tx) { tx.Delete(tx.Set(object)) })
		default:
			f.engine.delete(u.GetKind(), objectName{u.GetNamespace(), u.GetName()})
		}
	})
}

func (f *fixture) each(text string, do func(*unstructured.Unstructured)) {
	for document := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		require.NoError(f.t, yaml.Unmarshal([]byte(document), &u.Object), document)
		if u.GetNamespace() == "" && u.GetKind() != "GatewayClass" && u.GetKind() != "Namespace" {
			u.SetNamespace("default")
		}
		do(u)
	}
}

func (f *fixture) applyOne(u *unstructured.Unstructured) {
	switch u.GetKind() {
	case "Service", "EndpointSlice":
		object := f.convert(u)
		f.change(func(tx *watchers.Tx) { tx.Set(object) })
	default:
		o, err := decode(u.GetKind(), u)
		require.NoError(f.t, err)
		f.engine.set(o)
	}
}

// convert converts a Service or an EndpointSlice.
func (f *fixture) convert(u *unstructured.Unstructured) watchers.Object {
	var typed any = &corev1.Service{}
	if u.GetKind() == "EndpointSlice" {
		typed = &discoveryv1.EndpointSlice{}
	}
	require.NoError(f.t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed))
	object, err := kubeapi.Converter{}.Object(typed)
	require.NoError(f.t, err)
	require.NotNil(f.t, object)
	return object
}

// change changes the other source.
func (f *fixture) change(update func(tx *watchers.Tx)) {
	f.inner.Update(update)
	snapshot, changes := f.reader.Pending()
	f.engine.servicesChanged(watchers.Snapshot{Snapshot: snapshot}, changes)
	f.reader.Acknowledge(snapshot)
}

// text returns the Services, slices and Problems of the target.
func (f *fixture) text() string {
	var b strings.Builder
	s := f.engine.target.Snapshot()
	for service := range s.Services() {
		fmt.Fprint(&b, service.Name)
		for _, ip := range service.ClusterIPs {
			fmt.Fprint(&b, " ", ip)
		}
		for _, in := range service.Ingress {
			fmt.Fprint(&b, " load balancer ", in.IP)
		}
		fmt.Fprintln(&b)
		for _, p := range service.Problems {
			fmt.Fprintf(&b, "  ! %v\n", p)
		}
		for _, p := range service.Ports {
			fmt.Fprintf(&b, "  port %q %d/%v", p.Name, p.Port, p.Protocol)
			if p.RefusedPerMille > 0 {
				fmt.Fprintf(&b, " refused %d", p.RefusedPerMille)
			}
			fmt.Fprintln(&b)
		}
		for slice := range s.EndpointSlices(service.Name) {
			fmt.Fprintf(&b, "  %s\n", slice.Name)
			for _, p := range slice.Ports {
				fmt.Fprintf(&b, "    %q/%v", p.Name, p.Protocol)
				for i, e := range slice.Endpoints {
					fmt.Fprintf(&b, " %v", netip.AddrPortFrom(e.Addr, p.Port))
					if !e.Ready {
						fmt.Fprint(&b, "(not ready)")
					}
					if len(slice.Details) > 0 && slice.Details[i].Weight != nil {
						fmt.Fprintf(&b, "*%d", *slice.Details[i].Weight)
					}
				}
				fmt.Fprintln(&b)
			}
		}
	}
	return b.String()
}

// statusText returns the conditions of all objects, with those that are true in short form.
func (f *fixture) statusText() string {
	var b strings.Builder
	status := f.engine.status()
	for _, g := range status.Gateways {
		fmt.Fprintf(&b, "Gateway %s/%s", g.Namespace, g.Name)
		for _, c := range g.Conditions {
			fmt.Fprintf(&b, " %s=%s(%s)", c.Type, c.Status, c.Reason)
		}
		fmt.Fprintln(&b)
		for _, l := range g.Listeners {
			fmt.Fprintf(&b, "  %s routes=%d", l.Name, l.AttachedRoutes)
			for _, k := range l.SupportedKinds {
				fmt.Fprintf(&b, " %s", k.Kind)
			}
			for _, c := range l.Conditions {
				fmt.Fprintf(&b, " %s=%s(%s)", c.Type, c.Status, c.Reason)
			}
			fmt.Fprintln(&b)
		}
	}
	for _, r := range status.Routes {
		for _, p := range r.Parents {
			fmt.Fprintf(&b, "%s %s/%s in %s", r.Kind, r.Namespace, r.Name, p.ParentRef.Name)
			for _, c := range p.Conditions {
				fmt.Fprintf(&b, " %s=%s(%s)@%d", c.Type, c.Status, c.Reason, c.ObservedGeneration)
			}
			fmt.Fprintln(&b)
		}
	}
	return b.String()
}

// TestStories runs the files of testdata: "apply" and "delete" change objects, "store" is what the
// store has then, and "status" what a controller writes.
func TestStories(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			story, err := txtar.ParseFile(name)
			require.NoError(t, err)
			for i, file := range story.Files {
				switch data := string(file.Data); file.Name {
				case "apply":
					f.apply(strings.TrimSuffix(data, "\n"))
				case "delete":
					f.delete(strings.TrimSuffix(data, "\n"))
				case "store":
					require.Equal(t, data, f.text(), "file %d", i)
				case "status":
					require.Equal(t, data, f.statusText(), "file %d", i)
				default:
					require.Fail(t, "unknown file", file.Name)
				}
			}
		})
	}
}

// TestNamesOfSlicesAreValid: the longest names of objects and listeners make valid names of slices,
// one for each.
func TestNamesOfSlicesAreValid(t *testing.T) {
	names := map[string]bool{}
	long := strings.Repeat("a", 253)
	for _, port := range []string{"p", long, long[1:] + "b"} {
		for _, slice := range []string{"s", long} {
			f := frontend{service: watchers.ServiceName{Namespace: "ns", Name: long, Origin: Origin}, port: port}
			name := f.sliceName(&backend{service: watchers.ServiceName{Namespace: long, Name: "web"}, number: 65535}, slice)
			require.True(t, localsink.ValidName(name), name)
			names[name] = true
		}
	}
	require.Len(t, names, 6)
}
