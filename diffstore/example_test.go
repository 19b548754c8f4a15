// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func Example() {
	s := diffstore.New(strings.Compare, (*diffstore.Hash).String)
	before := s.Update(func(tx *diffstore.Tx[string, string]) {
		tx.Set("apple", "green")
		tx.Set("pear", "yellow")
	})
	after := s.Update(func(tx *diffstore.Tx[string, string]) {
		tx.Set("apple", "red")
		tx.Set("pear", "yellow") // equal, not a change
		tx.Set("plum", "blue")
	})
	fmt.Println("revision", before.Revision(), "has", before.Len(), "keys")
	for c := range after.Diff(before) {
		fmt.Println(c.Key, c.Value)
	}
	// Output:
	// revision 2 has 2 keys
	// apple red
	// plum blue
}

// A reader yields changes until they are acknowledged.
func ExampleReader() {
	s := diffstore.New(strings.Compare, (*diffstore.Hash).String)
	r := s.Reader()
	defer r.Close()
	apply := func(result error) {
		snap, changes := r.Pending()
		for c := range changes {
			fmt.Print(c.Key, " ", c.Value, "; ")
		}
		fmt.Println("error:", result)
		if result == nil {
			r.Acknowledge(snap)
		}
	}
	s.Update(func(tx *diffstore.Tx[string, string]) { tx.Set("apple", "green") })
	apply(errors.New("target is busy"))
	s.Update(func(tx *diffstore.Tx[string, string]) { tx.Set("plum", "blue") })
	apply(nil)
	s.Update(func(tx *diffstore.Tx[string, string]) { tx.Set("apple", "red") })
	apply(nil)
	// Output:
	// apple green; error: target is busy
	// apple green; plum blue; error: <nil>
	// apple red; error: <nil>
}

// A backend renders one rule per address of all Services at each Sync, and applies only
// the rules that changed.
func ExampleFill() {
	rules := diffstore.NewFill(netip.AddrPort.Compare, (*diffstore.Hash).String) // endpoints by address
	backend := localsink.Func(func(_ context.Context, u *localsink.Update) error {
		rules.Clear()
		for svc := range u.All.All() {
			for _, port := range svc.Ports {
				for _, fe := range port.Frontends {
					rules.Set(fe.Addr, fmt.Sprint(port.Pools[fe.Routes[0].Pool].Endpoints))
				}
			}
		}
		for c := range rules.Changes() {
			if c.Deleted {
				fmt.Println("delete", c.Key)
			} else {
				fmt.Println("set", c.Key, "->", c.Value)
			}
		}
		rules.Commit() // after an error instead, the next Sync would get the same changes again
		return nil
	})

	service := func(name, addr string, endpoints ...string) *localsink.Service {
		port := localsink.Port{Protocol: localsink.ProtocolTCP, Pools: make([]localsink.Pool, 1)}
		port.Frontends = []localsink.Frontend{{
			Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort(addr), Routes: make([]localsink.Route, 1),
		}}
		for _, e := range endpoints {
			port.Pools[0].Endpoints = append(port.Pools[0].Endpoints, localsink.Endpoint{Addr: netip.MustParseAddrPort(e), Weight: 1})
		}
		return &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: name}, Ports: []localsink.Port{port}}
	}
	web, dns := service("web", "10.96.0.10:80", "10.244.1.4:8080", "10.244.2.7:8080"), service("dns", "10.96.0.2:53", "10.244.1.2:53")
	scaled := service("web", "10.96.0.10:80", "10.244.1.4:8080")
	driver := sinktest.Driver{Sink: backend, Node: &localsink.Node{Name: "node-1"}}
	for i, services := range [][]*localsink.Service{{web, dns}, {web, dns}, {scaled}} {
		fmt.Println("sync", i+1)
		_ = driver.Sync(context.Background(), sinktest.NewState(services...))
	}
	// Output:
	// sync 1
	// set 10.96.0.2:53 -> [{10.244.1.2:53 false 1}]
	// set 10.96.0.10:80 -> [{10.244.1.4:8080 false 1} {10.244.2.7:8080 false 1}]
	// sync 2
	// sync 3
	// set 10.96.0.10:80 -> [{10.244.1.4:8080 false 1}]
	// delete 10.96.0.2:53
}
