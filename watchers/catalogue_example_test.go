// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A catalogue is the state of a service catalogue: what GET returns as JSON.
type catalogue struct {
	Services []struct {
		Namespace, Name, IP string
		Port                uint16
	}
	Pools []struct { // instances of a Service
		Namespace, Name, Service string
		IPs                      []string
		Port                     uint16
	}
	Nodes    []struct{ Name, Zone string }
	Networks []struct{ Name, CIDR string }
}

// objects converts the catalogue.
func (c *catalogue) objects() (objects []watchers.Object) {
	for _, s := range c.Services {
		service := &watchers.Service{
			Name:  watchers.ServiceName{Namespace: s.Namespace, Name: s.Name},
			Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: s.Port}},
		}
		var err error
		if service.ClusterIP, err = netip.ParseAddr(s.IP); err != nil {
			service.Problems = []watchers.Problem{{Object: "Service " + service.Name.String(), Field: "IP", Message: err.Error()}}
		}
		objects = append(objects, service)
	}
	for _, p := range c.Pools {
		slice := &watchers.EndpointSlice{
			Namespace: p.Namespace, Name: p.Name, Service: watchers.ServiceName{Namespace: p.Namespace, Name: p.Service},
			Family: watchers.FamilyIPv4, Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: p.Port}},
		}
		for _, ip := range p.IPs {
			addr, _ := netip.ParseAddr(ip) // the store reports an invalid address
			slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: addr, Ready: true, Serving: true})
		}
		objects = append(objects, slice)
	}
	for _, n := range c.Nodes {
		objects = append(objects, &watchers.Node{Name: n.Name, Zone: n.Zone})
	}
	for _, n := range c.Networks {
		network, _ := netip.ParsePrefix(n.CIDR)
		objects = append(objects, &watchers.ServiceCIDR{Name: n.Name, Networks: []netip.Prefix{network}})
	}
	return objects
}

// A catalogueWatcher reads a catalogue with blocking queries: the server responds to
// ?index=N when the index of its state is greater than N, or after a minute.
type catalogueWatcher struct {
	url    string
	client *http.Client
	pause  time.Duration // after an error
	logger *slog.Logger
}

// Run implements watchers.Watcher.
func (w *catalogueWatcher) Run(ctx context.Context, store *watchers.Store) error {
	index, pause := uint64(0), time.Duration(0) // the server responds to index 0 at once
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		state, next, err := w.get(ctx, index)
		if err != nil { // the store keeps its objects
			if ctx.Err() == nil {
				w.logger.Warn("Catalogue not read", "url", w.url, "err", err)
			}
			index, pause = 0, w.pause // the server may have restarted, and count from 1 again
			continue
		}
		store.Update(func(tx *watchers.Tx) {
			listed := map[watchers.Key]bool{}
			for _, o := range state.objects() {
				listed[tx.Set(o)] = true // an equal object is no change
			}
			tx.RetainAll(func(k watchers.Key) bool { return listed[k] })
			tx.SetSynced()
		})
		index, pause = next, 0
	}
}

// get returns the state of the catalogue and its index.
func (w *catalogueWatcher) get(ctx context.Context, index uint64) (*catalogue, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second) // the server may be gone
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"?index="+strconv.FormatUint(index, 10), http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("status %s", response.Status)
	}
	next, err := strconv.ParseUint(response.Header.Get("X-Index"), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("header X-Index: %w", err)
	}
	state := &catalogue{}
	return state, next, json.NewDecoder(response.Body).Decode(state)
}

// serveCatalogue serves one state of a catalogue.
func serveCatalogue(state string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("index") != "0" {
			<-r.Context().Done() // nothing changes
			return
		}
		w.Header().Set("X-Index", "1")
		fmt.Fprint(w, state)
	}))
}

func ExampleWatcher() {
	server := serveCatalogue(`{"Services": [{"Namespace": "default", "Name": "db", "IP": "10.96.0.20", "Port": 5432}],
		"Pools": [{"Namespace": "default", "Name": "db-1", "Service": "db", "IPs": ["192.0.2.1", "192.0.2.2"], "Port": 5432}]}`)
	defer server.Close()
	watcher := &catalogueWatcher{url: server.URL, client: server.Client(), pause: time.Second, logger: slog.Default()}

	store := watchers.NewStore()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- watcher.Run(ctx, store) }()
	snap := store.Snapshot()
	for !snap.Synced() {
		<-snap.Newer()
		snap = store.Snapshot()
	}
	for slice := range snap.EndpointSlices(watchers.ServiceName{Namespace: "default", Name: "db"}) {
		fmt.Println(slice.Name, "has", len(slice.Endpoints), "endpoints")
	}
	cancel()
	fmt.Println("error:", <-done)
	// Output:
	// db-1 has 2 endpoints
	// error: <nil>
}
