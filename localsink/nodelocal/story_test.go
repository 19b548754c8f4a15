package nodelocal

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
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// TestStories runs testdata/*.txtar; testdata/README.md describes the format. With
// UPDATE_STORIES=1 the expectations are rewritten.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { tell(t, file) })
	}
}

type story struct {
	cfg     Config
	host    sinktest.Host
	clients map[string]sinktest.Packet
	store   *watchers.Store
	table   *Table
}

func tell(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	require.NoError(t, err)
	before := txtar.Format(archive)
	s := &story{clients: map[string]sinktest.Packet{}, store: watchers.NewStore()}
	for i := range archive.Files {
		f := &archive.Files[i]
		where := file + ": " + f.Name
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
	}
	after := txtar.Format(archive)
	if os.Getenv("UPDATE_STORIES") != "" {
		require.NoError(t, os.WriteFile(file, after, 0o644))
		return
	}
	require.Equal(t, string(before), string(after))
}

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
	if s.table != nil {
		s.table.Close()
		s.table = nil
	}
	s.cfg = Config{}
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
	table, err := NewTable(s.store, s.cfg)
	require.NoError(t, err, where)
	t.Cleanup(table.Close)
	s.table = table
}

func (s *story) apply(t *testing.T, where string, data []byte) {
	s.store.Update(func(tx *watchers.Tx) {
		for _, doc := range bytes.Split(data, []byte("\n---\n")) {
			applyDocument(t, where, tx, doc)
		}
	})
}

func applyDocument(t *testing.T, where string, tx *watchers.Tx, doc []byte) {
	var head struct{ Kind string }
	require.NoError(t, yaml.Unmarshal(doc, &head), where)
	switch head.Kind {
	case "Service":
		var o corev1.Service
		require.NoError(t, yaml.UnmarshalStrict(doc, &o), where)
		o.Namespace = cmp.Or(o.Namespace, "default")
		if (kubeapi.Filter{AllProxies: true}).Service(&o) {
			tx.SetService(kubeapi.Service(&o))
		} else {
			tx.DeleteService(watchers.ServiceName{Namespace: o.Namespace, Name: o.Name})
		}
	case "EndpointSlice":
		var o discoveryv1.EndpointSlice
		require.NoError(t, yaml.UnmarshalStrict(doc, &o), where)
		o.Namespace = cmp.Or(o.Namespace, "default")
		slice, err := kubeapi.EndpointSlice(&o)
		require.NoError(t, err, where)
		tx.SetEndpointSlice(slice)
	case "ServiceCIDR":
		var o networkingv1.ServiceCIDR
		require.NoError(t, yaml.UnmarshalStrict(doc, &o), where)
		tx.SetServiceCIDR(kubeapi.ServiceCIDR(&o))
	case "Node":
		var o corev1.Node
		require.NoError(t, yaml.UnmarshalStrict(doc, &o), where)
		tx.SetNode(kubeapi.Node(&o))
	default:
		t.Fatalf("%s: unknown kind %q", where, head.Kind)
	}
}

// remove handles lines "KIND NAMESPACE/NAME", or "Node NAME".
func (s *story) remove(t *testing.T, where string, data []byte) {
	s.store.Update(func(tx *watchers.Tx) {
		for _, w := range lines(data) {
			ns, name, _ := strings.Cut(w[1], "/")
			switch w[0] {
			case "Service":
				tx.DeleteService(watchers.ServiceName{Namespace: ns, Name: name})
			case "EndpointSlice":
				tx.DeleteEndpointSlice(ns, name)
			case "Node":
				tx.DeleteNode(w[1])
			case "ServiceCIDR":
				tx.DeleteServiceCIDR(w[1])
			default:
				t.Fatalf("%s: unknown kind %q", where, w[0])
			}
		}
	})
}

func (s *story) state() string {
	s.table.Refresh()
	var b strings.Builder
	for svc := range s.table.Current().All.All() {
		b.WriteString(svc.Text())
	}
	return b.String()
}

// probe handles lines "CLIENT PROTOCOL ADDRESS:PORT -> ANSWER" and fills in answers.
func (s *story) probe(t *testing.T, where string, data []byte) []byte {
	s.table.Refresh()
	u := s.table.Current()
	protocols := map[string]localsink.Protocol{"tcp": localsink.TCP, "udp": localsink.UDP, "sctp": localsink.SCTP}
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
