// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// numbered returns Service i, for a proxy.
func numbered(i int, proxy string) *watchers.Service {
	return service(func(s *watchers.Service) {
		if s.Name.Name = fmt.Sprint("svc-", i); proxy != "" {
			s.ProxyName = &proxy
		}
	})
}

// TestNamesThatMatchNothingAreLoggedOnce: with counts, and again only when that changes.
func TestNamesThatMatchNothingAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	store := watchers.NewStore()
	single, err := nodelocal.NewResolver(store, nodelocal.Config{NodeName: "Node-1", ProxyName: "acme", Logger: logger})
	require.NoError(t, err)
	defer single.Close()
	multi, err := nodelocal.NewMultiNodeResolver(store, nodelocal.MultiNodeConfig{ProxyName: "acme", Logger: logger})
	require.NoError(t, err)
	defer multi.Close()
	// logged applies a change and returns the lines, which must be equal for both resolvers
	// unless they are about the node.
	logged := func(change func(tx *watchers.Tx)) string {
		store.Update(change)
		log.Reset()
		multi.Refresh()
		of := log.String()
		log.Reset()
		single.Refresh()
		require.Contains(t, log.String(), of)
		return log.String()
	}
	const noService = `level=WARN msg="Proxy name matches no Service" proxy=acme reason="0 of 412 Services are for proxy acme"` + "\n"

	require.Empty(t, logged(func(tx *watchers.Tx) {
		for i := range 412 {
			tx.SetService(numbered(i, []string{"", "other"}[i%2]))
		}
		tx.SetNode(&watchers.Node{Name: "node-1"})
		tx.SetNode(&watchers.Node{Name: "node-2"})
	}), "the store is not synced")
	first := logged(func(tx *watchers.Tx) { tx.SetSynced() })
	require.Equal(t, noService+`level=WARN msg="Node is absent, and its addresses are unknown" node=Node-1 `+
		`reason="no Node named Node-1 among 2; node-1 differs only in case"`+"\n", first)
	require.Empty(t, logged(func(tx *watchers.Tx) { tx.SetService(numbered(412, "other")) }), "one more")
	require.Contains(t, logged(func(tx *watchers.Tx) { tx.SetService(numbered(412, "acme")) }), `level=INFO msg="Proxy name matches Services"`)
	require.Empty(t, logged(func(tx *watchers.Tx) { tx.SetService(numbered(411, "acme")) }))
	require.Empty(t, logged(func(tx *watchers.Tx) { tx.DeleteService(numbered(412, "").Name) }), "another one matches")
	require.Equal(t, noService, logged(func(tx *watchers.Tx) { tx.SetService(numbered(411, "")) }))

	require.Equal(t, `level=INFO msg="Node appeared" node=Node-1 ips=[192.0.2.1] zone=a`+"\n", logged(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "Node-1", IPs: addrs("192.0.2.1"), Zone: "a"})
	}))
	require.Empty(t, logged(func(tx *watchers.Tx) { tx.DeleteNode("node-1") }))
	gone := logged(func(tx *watchers.Tx) { tx.DeleteNode("Node-1") })
	require.Equal(t, `level=WARN msg="Node is absent; its last addresses, pod networks and zone stay in use" node=Node-1 reason="no Node named Node-1 among 1" `+
		`ips=[192.0.2.1] zone=a podNetworks=[]`+"\n", gone)
	require.Empty(t, logged(func(tx *watchers.Tx) { tx.DeleteNode("node-2") }))
	require.Empty(t, logged(func(tx *watchers.Tx) {
		for i := range 413 {
			tx.DeleteService(numbered(i, "").Name)
		}
	}))
}

// TestEmptyClusterIsNotLogged: a cluster without Services is not a misspelt name.
func TestEmptyClusterIsNotLogged(t *testing.T) {
	var log bytes.Buffer
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.SetSynced(); tx.SetNode(&watchers.Node{Name: "n"}) })
	r, err := nodelocal.NewResolver(store, nodelocal.Config{NodeName: "n", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer r.Close()
	r.Refresh()
	require.Empty(t, log.String())
	store.Update(func(tx *watchers.Tx) { tx.SetService(numbered(1, "x")) })
	r.Refresh()
	require.Equal(t, 1, strings.Count(log.String(), "0 of 1 Services are for the default proxy"))
}
