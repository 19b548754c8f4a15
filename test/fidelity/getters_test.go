// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"fmt"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/plugins/calico"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/proxy"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

var (
	_ proxy.ServicePort = (*calico.ServicePort)(nil)
	_ proxy.Endpoint    = (*calico.Endpoint)(nil)
)

// TestGettersReturnWhatPkgProxyReturns compares the maps of kube-proxy's change trackers with
// those that examples/vendor/calico makes from a snapshot: the keys, and the result of every
// getter. The objects are random, and valid for an API server.
func TestGettersReturnWhatPkgProxyReturns(t *testing.T) {
	services, endpoints := 0, 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		svcs, slices := randomObjects(r)
		store := watchers.NewStore()
		snapshot := store.Update(func(tx *watchers.Tx) {
			for _, svc := range svcs {
				tx.SetService(kubeapi.Service(svc))
			}
			for _, slice := range slices {
				converted, err := kubeapi.EndpointSlice(slice)
				require.NoError(t, err)
				tx.SetEndpointSlice(converted)
			}
			tx.SetSynced()
		})
		for family, v := range map[corev1.IPFamily]watchers.IPFamily{corev1.IPv4Protocol: watchers.FamilyIPv4, corev1.IPv6Protocol: watchers.FamilyIPv6} {
			wantServices, wantEndpoints := tracked(family, svcs, slices)
			state := calico.Source{Node: "node-1", Family: v}.State(snapshot)
			got := map[proxy.ServicePortName]map[string]any{}
			for name, port := range state.Services {
				got[proxy.ServicePortName(name)] = getters(port, reflect.TypeFor[proxy.ServicePort]())
			}
			want := map[proxy.ServicePortName]map[string]any{}
			for name, port := range wantServices {
				want[name] = getters(port, reflect.TypeFor[proxy.ServicePort]())
			}
			require.Equal(t, want, got, "seed %d, %s", seed, family)
			services += len(want)

			gotEndpoints := map[proxy.ServicePortName][]map[string]any{}
			for name, list := range state.Endpoints {
				gotEndpoints[proxy.ServicePortName(name)] = endpointGetters(list)
			}
			want2 := map[proxy.ServicePortName][]map[string]any{}
			for name, list := range wantEndpoints {
				want2[name] = endpointGetters(list)
				endpoints += len(list)
			}
			require.Equal(t, want2, gotEndpoints, "seed %d, %s", seed, family)
		}
	}
	require.Greater(t, services, 500)
	require.Greater(t, endpoints, 1000)
}

// tracked returns the maps of kube-proxy.
func tracked(family corev1.IPFamily, svcs []*corev1.Service, slices []*discoveryv1.EndpointSlice) (proxy.ServicePortMap, proxy.EndpointsMap) {
	serviceChanges := proxy.NewServiceChangeTracker(family, nil, nil)
	endpointChanges := proxy.NewEndpointsChangeTracker(family, "node-1", nil, nil)
	for _, svc := range svcs {
		serviceChanges.Update(nil, svc)
	}
	for _, slice := range slices {
		endpointChanges.EndpointSliceUpdate(slice, false)
	}
	services, endpoints := proxy.ServicePortMap{}, proxy.EndpointsMap{}
	services.Update(serviceChanges)
	endpoints.Update(endpointChanges)
	for name := range endpoints {
		if !hasService(services, name) {
			delete(endpoints, name) // of a Service without this family, which no proxy reads
		}
	}
	return services, endpoints
}

func hasService(services proxy.ServicePortMap, name proxy.ServicePortName) bool {
	for n := range services {
		if n.NamespacedName == name.NamespacedName {
			return true
		}
	}
	return false
}

func endpointGetters[E any](list []E) (all []map[string]any) {
	for _, e := range list {
		all = append(all, getters(e, reflect.TypeFor[proxy.Endpoint]()))
	}
	slices.SortFunc(all, func(a, b map[string]any) int {
		return strings.Compare(fmt.Sprint(a["String"]), fmt.Sprint(b["String"]))
	})
	return all
}

// getters returns the result of each method of an interface, in a form that can be compared.
func getters(v any, methods reflect.Type) map[string]any {
	out := map[string]any{}
	for m := range methods.Methods() {
		out[m.Name] = comparableValue(reflect.ValueOf(v).MethodByName(m.Name).Call(nil)[0].Interface())
	}
	return out
}

func comparableValue(v any) any {
	switch v := v.(type) {
	case net.IP:
		return v.String()
	case []net.IP:
		return fmt.Sprint(v)
	case []*net.IPNet:
		return fmt.Sprint(v)
	case sets.Set[string]:
		return fmt.Sprint(sets.List(v))
	}
	return v
}
