// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// TestStories runs testdata/*.txtar; docs/vectors.md describes the format. Each
// expectation is a subtest of its name. UPDATE_STORIES=1 rewrites the expectations.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runStory(t, file) })
	}
}

// A story is the state of a running story.
type story struct {
	cfg      nodelocal.Config
	host     sinktest.Host
	clients  map[string]sinktest.Packet // by name; with source address and interface
	store    *watchers.Store
	resolver *nodelocal.Resolver // of the latest .config file
}

func runStory(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	require.NoError(t, err)
	s := &story{clients: map[string]sinktest.Packet{}, store: watchers.NewStore()}
	for i := range archive.Files {
		f := &archive.Files[i]
		where, before := file+": "+f.Name, string(f.Data)
		name := strings.TrimSuffix(f.Name, filepath.Ext(f.Name))
		switch filepath.Ext(f.Name) {
		case ".config":
			s.configure(t, where, f.Data)
		case ".yaml":
			s.apply(t, where, f.Data)
		case ".delete":
			s.remove(t, where, f.Data)
		case ".state":
			f.Data = []byte(s.state())
		case ".probes":
			f.Data = s.probe(t, where, f.Data)
		default:
			t.Fatalf("%s: unknown kind of file", where)
		}
		if os.Getenv("UPDATE_STORIES") == "" && expects(f.Name) {
			t.Run(name, func(t *testing.T) { require.Equal(t, before, string(f.Data)) })
		}
	}
	if os.Getenv("UPDATE_STORIES") != "" {
		require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
	}
}

// expects reports whether a file of a story holds an expectation.
func expects(name string) bool {
	return filepath.Ext(name) == ".state" || filepath.Ext(name) == ".probes"
}

// lines returns the words of each line that is neither empty nor a comment.
func lines(data []byte) [][]string {
	var all [][]string
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			all = append(all, words)
		}
	}
	return all
}

func (s *story) configure(t *testing.T, where string, data []byte) {
	if s.resolver != nil {
		require.NoError(t, s.resolver.Close())
		s.resolver = nil
	}
	s.cfg = nodelocal.Config{}
	for _, w := range lines(data) {
		switch w[0] {
		case "node":
			s.cfg.NodeName = w[1]
		case "node-ip":
			s.cfg.NodeIP = netip.MustParseAddr(w[1])
		case "cluster-cidr":
			for _, c := range w[1:] {
				s.cfg.LocalPods.ClusterCIDRs = append(s.cfg.LocalPods.ClusterCIDRs, netip.MustParsePrefix(c))
			}
		case "proxy-name":
			s.cfg.ProxyName = w[1]
		case "node-cidr":
			s.cfg.LocalPods.NodeCIDR = true
		case "pod-interface":
			s.cfg.LocalPods.Interface = w[1]
		case "pod-interface-prefix":
			s.cfg.LocalPods.InterfacePrefix = w[1]
		case "masquerade-all":
			s.cfg.MasqueradeAll = true
		case "assumed-ips":
			s.cfg.KnownNode = &nodelocal.KnownNode{}
			s.cfg.KnownNode.Remember(&watchers.Node{IPs: addrs(strings.Join(w[1:], " "))})
		case "ignore-external-ips":
			s.cfg.IgnoreExternalIPs = true
		case "no-masquerade":
			for _, network := range w[1:] {
				s.cfg.NoMasquerade = append(s.cfg.NoMasquerade, netip.MustParsePrefix(network))
			}
		case "pass-external":
			s.cfg.Policy = func(_ *watchers.Service, port *nodelocal.PolicyPort) error {
				port.PassExternal = true
				return nil
			}
		case "nodeport-addresses":
			s.cfg.NodePortAddresses = w[1:]
		case "host":
			s.host = sinktest.Host{}
			for _, a := range w[1:] {
				s.host.Addrs = append(s.host.Addrs, netip.MustParseAddr(a))
			}
		case "client": // client NAME ADDRESS [INTERFACE]
			p := sinktest.Packet{From: netip.MustParseAddr(w[2])}
			if len(w) > 3 {
				p.Interface = w[3]
			}
			s.clients[w[1]] = p
		default:
			t.Fatalf("%s: unknown setting %q", where, w[0])
		}
	}
	resolver, err := nodelocal.NewResolver(s.store, s.cfg)
	require.NoError(t, err, where)
	t.Cleanup(func() { require.NoError(t, resolver.Close()) })
	s.resolver = resolver
}

func (s *story) apply(t *testing.T, where string, data []byte) {
	s.store.Update(func(tx *watchers.Tx) {
		for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
			applyDocument(t, where, tx, doc)
		}
	})
}

// applyDocument adds or replaces one object. An object that the filter excludes is deleted,
// as it is for a watcher that uses the selectors of the filter.
func applyDocument(t *testing.T, where string, tx *watchers.Tx, doc []byte) {
	doc, properties := cutProperties(t, where, doc)
	var head struct{ Kind string }
	require.NoError(t, yaml.Unmarshal(doc, &head), where)
	var object metav1.Object
	switch head.Kind {
	case "Service":
		object = &corev1.Service{}
	case "EndpointSlice":
		object = &discoveryv1.EndpointSlice{}
	case "ServiceCIDR":
		object = &networkingv1.ServiceCIDR{}
	case "Node":
		object = &corev1.Node{}
	default:
		t.Fatalf("%s: unknown kind %q", where, head.Kind)
	}
	require.NoError(t, yaml.UnmarshalStrict(doc, object), where)
	if head.Kind == "Service" || head.Kind == "EndpointSlice" {
		object.SetNamespace(cmp.Or(object.GetNamespace(), "default"))
	}
	converted, err := kubeapi.Filter{AllProxies: true}.Object(object)
	if invalid := (*kubeapi.InvalidObjectError)(nil); err != nil {
		require.ErrorAs(t, err, &invalid, where)
	}
	if converted == nil {
		remove(tx, head.Kind, object.GetNamespace(), object.GetName(), properties.Origin)
		return
	}
	properties.apply(t, where, converted)
	tx.Set(converted)
}

// remove deletes the objects of lines "KIND NAMESPACE/NAME [ORIGIN]" or "KIND NAME".
func (s *story) remove(t *testing.T, where string, data []byte) {
	s.store.Update(func(tx *watchers.Tx) {
		for _, w := range lines(data) {
			namespace, name, namespaced := strings.Cut(w[1], "/")
			if !namespaced {
				namespace, name = "", w[1]
			}
			origin := ""
			if len(w) > 2 {
				origin = w[2]
			}
			require.True(t, remove(tx, w[0], namespace, name, origin), "%s: unknown kind %q", where, w[0])
		}
	})
}

func remove(tx *watchers.Tx, kind, namespace, name, origin string) (known bool) {
	switch kind {
	case "Service":
		tx.DeleteService(watchers.ServiceName{Namespace: namespace, Name: name, Origin: origin})
	case "EndpointSlice":
		tx.Delete(watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: namespace, Slice: name, Origin: origin})
	case "Node":
		tx.DeleteNode(name)
	case "ServiceCIDR":
		tx.DeleteServiceCIDR(name)
	default:
		return false
	}
	return true
}

// state returns the text of the desired state.
func (s *story) state() string {
	s.resolver.Refresh()
	var b strings.Builder
	for svc := range s.resolver.FullUpdate().All.All() {
		b.WriteString(svc.Text())
	}
	return b.String()
}

// probe returns the lines "CLIENT PROTOCOL ADDRESS:PORT -> OUTCOME" of data with the actual
// outcomes.
func (s *story) probe(t *testing.T, where string, data []byte) []byte {
	s.resolver.Refresh()
	u := s.resolver.FullUpdate()
	protocols := map[string]localsink.Protocol{"tcp": localsink.ProtocolTCP, "udp": localsink.ProtocolUDP, "sctp": localsink.ProtocolSCTP}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		w := strings.Fields(line)
		if len(w) == 0 || w[0] == "#" {
			b.WriteString(line)
			continue
		}
		p, known := s.clients[w[0]]
		require.True(t, known, "%s: no client %q among %v", where, w[0], slices.Sorted(maps.Keys(s.clients)))
		p.Protocol, p.To = protocols[w[1]], netip.MustParseAddrPort(w[2])
		require.NotZero(t, p.Protocol, "%s: protocol %q", where, w[1])
		fmt.Fprintf(&b, "%s %s %s -> %s\n", w[0], w[1], w[2], sinktest.Trace(u.Node, u.All, s.host, p))
	}
	return []byte(b.String())
}
