// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/dnssrv"
)

// TestStories runs the files of testdata, with a watcher and a real DNS server each. The file
// "services" is the configuration; each file "zone" is a state of the server, with lines such as
// "! NAME TYPE SERVFAIL" for failures; and the file "store" after it is what the store becomes.
func TestStories(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			story, err := txtar.ParseFile(name)
			require.NoError(t, err)
			dns := newServer(t)
			var store *watchers.Store
			var services []dnssrv.Service
			for _, f := range story.Files {
				switch f.Name {
				case "services":
					require.NoError(t, yaml.UnmarshalStrict(f.Data, &services))
				case "glue":
					dns.change(func(s *server) { s.glue = true })
				case "zone":
					dns.load(string(f.Data))
				case "store":
					if store == nil {
						store = run(t, dnssrv.Config{Services: services, Servers: []netip.AddrPort{dns.addr}})
					}
					awaitText(t, store, strings.ReplaceAll(string(f.Data), "SERVER", dns.addr.String()))
				default:
					require.Fail(t, "unknown file", f.Name)
				}
			}
		})
	}
}

// load sets the zone and the failures of a server.
func (s *server) load(text string) {
	var zone []string
	rcodes := map[string]dnsmessage.RCode{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "!":
			rcodes[fields[1]+" "+fields[2]] = map[string]dnsmessage.RCode{
				"SERVFAIL": dnsmessage.RCodeServerFailure, "REFUSED": dnsmessage.RCodeRefused, "NXDOMAIN": dnsmessage.RCodeNameError,
			}[fields[3]]
		default:
			zone = append(zone, line)
		}
	}
	s.set(zone...)
	s.change(func(s *server) { s.rcodes = rcodes })
}

// run runs a watcher, with short times unless cfg has others, until the test ends.
func run(t *testing.T, cfg dnssrv.Config) *watchers.Store {
	t.Helper()
	if cfg.MinTTL == 0 {
		cfg.MinTTL, cfg.MaxTTL = time.Millisecond, 20*time.Millisecond
	}
	w, err := dnssrv.New(cfg)
	require.NoError(t, err)
	store := watchers.NewStore()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, store) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return store
}

// awaitText waits until the store is synced and has the text.
func awaitText(t *testing.T, store *watchers.Store, want string) {
	t.Helper()
	s := store.Snapshot()
	late := time.After(20 * time.Second)
	for ; !s.Synced() || text(s) != want; s = store.Snapshot() {
		select {
		case <-s.Newer():
		case <-late:
			require.Equal(t, want, text(s), "synced: %v", s.Synced())
			return
		}
	}
}

// text returns the Services, slices and Problems of a store.
func text(s watchers.Snapshot) string {
	var b strings.Builder
	for service := range s.Services() {
		fmt.Fprintf(&b, "%v %v", service.Name, service.ClusterIPs)
		for _, p := range service.Ports {
			fmt.Fprintf(&b, " %s:%d/%v", p.Name, p.Port, p.Protocol)
		}
		fmt.Fprintln(&b)
		for _, p := range service.Problems {
			fmt.Fprintf(&b, "  ! %v\n", p)
		}
		for slice := range s.EndpointSlices(service.Name) {
			fmt.Fprintf(&b, "  %s %s/%v\n", slice.Name, slice.Ports[0].Name, slice.Ports[0].Protocol)
			for i, e := range slice.Endpoints {
				fmt.Fprintf(&b, "    %v", netip.AddrPortFrom(e.Addr, slice.Ports[0].Port))
				if len(slice.Details) > 0 {
					fmt.Fprintf(&b, " weight %d", *slice.Details[i].Weight)
				}
				fmt.Fprintln(&b)
			}
			for _, p := range slice.Problems {
				fmt.Fprintf(&b, "    ! %v\n", p)
			}
		}
	}
	return b.String()
}

// runUntil runs a watcher until the store fulfils a condition.
func runUntil(t *testing.T, cfg dnssrv.Config, store *watchers.Store, condition func(watchers.Snapshot) bool) {
	t.Helper()
	cfg.MinTTL = time.Millisecond
	w, err := dnssrv.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, store) }()
	await(t, store, condition)
	cancel()
	require.NoError(t, <-done)
}
