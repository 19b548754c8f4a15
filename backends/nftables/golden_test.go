// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A recordingKernel is a kernel that writes down what it is told.
type recordingKernel struct {
	log   strings.Builder
	fault func(commit bool, text string) error
	sets  map[string][]nfnl.Element
}

func (s *recordingKernel) record(verb string, b *nfnl.Batch) error {
	text := normalize(decode(b))
	fmt.Fprintf(&s.log, "%s\n%s", verb, text)
	if s.fault != nil {
		if err := s.fault(verb == "commit", text); err != nil {
			fmt.Fprintf(&s.log, "-> %v\n", err)
			return err
		}
	}
	return nil
}

func (s *recordingKernel) Commit(b *nfnl.Batch) error { return s.record("commit", b) }
func (s *recordingKernel) Check(b *nfnl.Batch) error  { return s.record("check", b) }

func (s *recordingKernel) Elements(_ uint8, table, set string) ([]nfnl.Element, error) {
	fmt.Fprintf(&s.log, "read %s %s\n", table, set)
	if all, ok := s.sets[set]; ok {
		return all, nil
	}
	return nil, syscall.ENOENT
}

// normalize leaves out most of the balancers that are always there, and brings in order what
// has none.
func normalize(text string) string {
	balancer := regexp.MustCompile(`(?:chain|rule) \S+ loadbalance-(service|nodeport)-pool1-(\d+)(:| |$)`)
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := balancer.FindStringSubmatch(line); m != nil && !slices.Contains([]string{"1", "8", "9", "32"}, m[2]) {
			continue
		}
		all = append(all, line+"\n")
	}
	verb := func(line string) string { return strings.Join(strings.Fields(line)[:2], " ") }
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && verb(all[end]) == verb(all[i]) {
			end++
		}
		if v := verb(all[i]); strings.HasSuffix(v, " add") || strings.HasSuffix(v, " remove") || strings.HasSuffix(v, " del") {
			slices.Sort(all[i:end])
		}
		i = end
	}
	return strings.Join(all, "")
}

// golden compares text with what is in testdata; UPDATE_GOLDEN=1 writes it anew.
func golden(t *testing.T, name, text string) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("numbers in the files are those of little-endian machines")
	}
	path := filepath.Join("testdata", name+".txt")
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "%s; if that is right, run with UPDATE_GOLDEN=1", path)
}

// A goldenTest drives a table of one family from state to state, and writes down what the kernel
// is told.
type goldenTest struct {
	t      *testing.T
	f      *family
	table  *table
	kernel *recordingKernel
	node   *localsink.Node
	state  serviceList
}

func newGoldenTest(t *testing.T, f *family) *goldenTest {
	c, err := Config{}.withDefaults()
	require.NoError(t, err)
	k := &recordingKernel{}
	return &goldenTest{t: t, f: f, kernel: k, table: newTable(f, c, k), node: &localsink.Node{}}
}

// step brings the table to a state, and returns its error.
func (a *goldenTest) step(title string, services ...*localsink.Service) error {
	fmt.Fprintf(&a.kernel.log, "# %s\n", title)
	u := nextUpdate(a.node, a.state, services)
	a.state = services
	err := a.table.sync(u, touchedServices(u))
	if err != nil {
		fmt.Fprintf(&a.kernel.log, "error: %v\n", err)
	}
	if st := a.table.state; st != nil {
		fmt.Fprintf(&a.kernel.log, "holds %d chains, %d sets, %d elements\n", st.chainCount, len(st.sets)-len(st.freeIndexes), st.elementCount)
	}
	return err
}

func (a *goldenTest) mustStep(title string, services ...*localsink.Service) {
	a.t.Helper()
	require.NoError(a.t, a.step(title, services...))
}

// addr returns an address of the tale's family.
func (a *goldenTest) addr(i byte) netip.Addr {
	if a.f.addrLen == 4 {
		return netip.AddrFrom4([4]byte{10, 0, 0, i})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 15: i})
}

func (a *goldenTest) any() netip.Addr {
	if a.f.addrLen == 4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// pool has endpoints, those with even numbers on this node.
func (a *goldenTest) pool(ids ...byte) localsink.Pool {
	var p localsink.Pool
	for _, i := range ids {
		p.Endpoints = append(p.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(a.addr(100+i), 8080), Local: i%2 == 0})
	}
	return p
}

func (a *goldenTest) frontend(kind localsink.FrontendKind, i byte, routes ...localsink.Route) localsink.Frontend {
	if routes == nil {
		routes = []localsink.Route{{}}
	}
	fe := localsink.Frontend{Kind: kind, Addr: netip.AddrPortFrom(a.addr(i), 80), Routes: routes}
	if kind == localsink.KindNodePort {
		fe.Addr = netip.AddrPortFrom(a.any(), 30000+uint16(i))
	}
	return fe
}

func (a *goldenTest) service(pools []localsink.Pool, fronts ...localsink.Frontend) *localsink.Service {
	return newService("web", localsink.Port{Pools: pools, Frontends: fronts})
}

// runGoldenTest runs a tale for both families.
func runGoldenTest(t *testing.T, name string, f func(a *goldenTest)) {
	for _, fam := range families() {
		t.Run(fam.name, func(t *testing.T) {
			a := newGoldenTest(t, fam)
			f(a)
			golden(t, name+"-"+fam.name, a.kernel.log.String())
		})
	}
}

// TestGoldenStaticChains is all that every table has, for a node with everything.
func TestGoldenStaticChains(t *testing.T) {
	runGoldenTest(t, "table", func(a *goldenTest) {
		prefix := func(s ...string) (all []netip.Prefix) {
			for _, p := range s {
				all = append(all, netip.MustParsePrefix(p))
			}
			return all
		}
		a.mustStep("a node without anything")
		a.node = &localsink.Node{
			LocalPods: localsink.PodSources{
				Networks:  prefix("10.244.0.0/16", "10.245.3.0/25", "fd00:244::/64"),
				Interface: "cni0", InterfacePrefix: "veth",
			},
			NodePortAddresses: prefix("192.0.2.1/32", "192.0.3.0/24", "127.0.0.0/8", "127.0.0.1/32", "126.0.0.0/7",
				"2001:db8::1/128", "2001:db8:3::/64", "::1/128", "::/127"),
			ServiceNetworks: prefix("10.96.0.0/12", "fd00:96::/108"),
		}
		ways := []localsink.Route{{From: localsink.FromLocalPods}, {From: localsink.FromThisNode, Masquerade: true}, {Pool: 1}}
		a.mustStep("a node with everything", a.service([]localsink.Pool{a.pool(1, 2), a.pool(2)}, a.frontend(localsink.KindExternalIP, 1, ways...)))
		everything := *a.node
		everything.NodePortAddresses = prefix("0.0.0.0/0", "::/0")
		a.node = &everything
		a.mustStep("all addresses answer on node ports", a.state...)
		a.mustStep("nothing has changed", a.state...)
	})
}

// TestGoldenKinds is what the kinds of frontends and routes become, and how they go.
func TestGoldenKinds(t *testing.T) {
	runGoldenTest(t, "kinds", func(a *goldenTest) {
		a.mustStep("nothing")
		drop := localsink.Route{Pool: 2, EmptyVerdict: localsink.VerdictDrop}
		restricted := a.frontend(localsink.KindLoadBalancer, 6)
		restricted.SourceRanges = []netip.Prefix{netip.PrefixFrom(a.addr(0), 25), netip.PrefixFrom(a.addr(77), a.f.addrLen*8)}
		closed := a.frontend(localsink.KindNodePort, 7)
		closed.SourceRanges = []netip.Prefix{}
		pools := []localsink.Pool{a.pool(1, 2, 3), a.pool(2), {}}
		all := []localsink.Frontend{
			a.frontend(localsink.KindClusterIP, 1),
			a.frontend(localsink.KindNodePort, 2, localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: 1, Masquerade: true}),
			a.frontend(localsink.KindExternalIP, 3, localsink.Route{Pool: 2, Masquerade: true}),
			a.frontend(localsink.KindExternalIP, 4, localsink.Route{From: localsink.FromThisNode, Pool: 1}, drop),
			a.frontend(localsink.KindClusterIP, 5, drop),
			restricted, closed,
		}
		a.mustStep("all kinds", a.service(pools, all...))
		open := all[5]
		open.SourceRanges = nil
		a.mustStep("source ranges end, and a frontend", a.service(pools, append(slices.Clone(all[:5]), open)...))
		udp := a.service(pools, all[0], all[1])
		udp.Ports[0].Protocol = localsink.ProtocolUDP
		udp.Ports = append(udp.Ports, localsink.Port{Protocol: localsink.ProtocolSCTP, Pools: pools, Frontends: all[:1]})
		a.mustStep("other protocols", udp)
		a.mustStep("nothing again")
	})
}

// TestGoldenEndpoints is what changes of endpoints cost, and in which order they happen.
func TestGoldenEndpoints(t *testing.T) {
	runGoldenTest(t, "endpoints", func(a *goldenTest) {
		serve := func(title string, ids ...byte) {
			a.mustStep(title, a.service([]localsink.Pool{a.pool(ids...)}, a.frontend(localsink.KindClusterIP, 1), a.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})))
		}
		serve("three", 1, 2, 3)
		serve("one is replaced", 1, 3, 4)
		serve("one comes", 1, 3, 4, 5)
		serve("the first goes", 3, 4, 5)
		serve("none is left")
		var many []byte
		for i := range byte(9) {
			many = append(many, 2*i+1)
		}
		serve("nine, from another map", many...)
		serve("eight", many[:8]...)
		for i := range byte(31) {
			many = append(many, 2*i+101)
		}
		serve("forty, for which nothing is ready", many[:40]...)
	})
}

// TestGoldenAffinity is what a port with affinity becomes.
func TestGoldenAffinity(t *testing.T) {
	runGoldenTest(t, "affinity", func(a *goldenTest) {
		a.mustStep("nothing")
		serve := func(title string, d time.Duration, pools ...localsink.Pool) {
			s := a.service(pools, a.frontend(localsink.KindClusterIP, 1), a.frontend(localsink.KindNodePort, 1,
				localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: len(pools) - 1, Masquerade: true}))
			s.Ports[0].Affinity = d
			a.mustStep(title, s)
		}
		id := newAffinityID(localsink.ServiceName{Namespace: "test", Name: "web"}, &localsink.Port{Protocol: localsink.ProtocolTCP}, 0)
		pin := func(client byte, slot uint32, left time.Duration) nfnl.Element {
			return nfnl.Element{Key: a.addr(client).AsSlice(), Data: native(slot), Expires: left}
		}
		leads := func(slot uint32, endpoint byte) nfnl.Element {
			return nfnl.Element{Key: native(slot), Data: appendPort(a.addr(100+endpoint).AsSlice(), 8080)}
		}
		serve("one pool", time.Hour, a.pool(1, 2))
		serve("one more endpoint", time.Hour, a.pool(1, 2, 3))
		a.kernel.sets = map[string][]nfnl.Element{
			entriesMapName(id, 0):          {pin(200, 0, time.Minute), pin(201, 1, time.Minute), pin(202, 2, 2*time.Hour)},
			poolEndpointsMapName(id, 1, 0): {leads(0, 1), leads(1, 2), leads(2, 3)},
		}
		serve("one leaves", time.Hour, a.pool(2, 3))
		a.kernel.sets = nil
		serve("another time", 90*time.Minute, a.pool(2, 3))
		serve("two pools that share one endpoint", 90*time.Minute, a.pool(2, 3), a.pool(3, 5))
		serve("the second pool is empty", 90*time.Minute, a.pool(2, 3), localsink.Pool{})
		serve("two pools again", 90*time.Minute, a.pool(2, 3), a.pool(5, 7))
		a.kernel.sets = map[string][]nfnl.Element{
			entriesMapName(id, 1):          {pin(203, 0, time.Minute), pin(204, 3, time.Minute)},
			poolEndpointsMapName(id, 1, 1): {leads(0, 2), leads(1, 3)},
			poolEndpointsMapName(id, 2, 1): {leads(2, 5), leads(3, 7)},
		}
		serve("the first pool is gone", 90*time.Minute, a.pool(5, 7))
		a.kernel.sets = nil
		serve("it is turned off", 0, a.pool(2, 3))
		serve("and on, for the shortest time", time.Nanosecond, a.pool(2, 3))
		a.mustStep("the Service is gone")
	})
}

// TestUnusedChainsAreDeleted: chains that nobody uses are deleted when there are many.
func TestUnusedChainsAreDeleted(t *testing.T) {
	a := newGoldenTest(t, ipv4())
	for i := range byte(maxUnusedChains + 2) {
		fe := a.frontend(localsink.KindExternalIP, 1)
		fe.SourceRanges = []netip.Prefix{netip.PrefixFrom(a.addr(i), 32)}
		a.mustStep(fmt.Sprint("source ", i), a.service([]localsink.Pool{{}}, fe))
	}
	told := a.kernel.log.String()
	require.Equal(t, maxUnusedChains+1, strings.Count(told, " del chain "))
	require.Less(t, strings.Index(told, fmt.Sprint("# source ", maxUnusedChains+1)), strings.Index(told, " del chain "), "not before there are many")
	require.Contains(t, told[strings.Index(told, "# source 65"):], "holds 75 chains, 12 sets, 2 elements")
	fe := a.frontend(localsink.KindExternalIP, 1)
	fe.SourceRanges = []netip.Prefix{netip.PrefixFrom(a.addr(0), 32)}
	a.mustStep("the first source again", a.service([]localsink.Pool{{}}, fe))
	again := a.kernel.log.String()[len(told):]
	require.Contains(t, again, " new chain kpng "+newSourceRanges(a.f, fe.SourceRanges).name+" ", "the chain was deleted")
	require.NotContains(t, again, " del chain ", "each chain goes once")
}

// TestGoldenRefused: what the kernel refuses is found by halving, left out and tried again.
func TestGoldenRefused(t *testing.T) {
	a := newGoldenTest(t, ipv4())
	var all []*localsink.Service
	for i := range byte(5) {
		s := a.service([]localsink.Pool{a.pool(1)}, a.frontend(localsink.KindExternalIP, 10+i))
		s.Name.Name = fmt.Sprint("s", i)
		all = append(all, s)
	}
	a.mustStep("one", all[0])
	refuse := func(text string, err error) {
		a.kernel.fault = func(commit bool, told string) error {
			if strings.Contains(told, text) {
				return err
			}
			return nil
		}
	}
	no := &nfnl.Error{Errno: syscall.EINVAL, Detail: "it has the number of evil"}
	// The words of what is told are long; here only their number counts.
	brief := func(f func()) string {
		before := a.kernel.log.Len()
		f()
		var b strings.Builder
		for line := range strings.Lines(a.kernel.log.String()[before:]) {
			if w := strings.Fields(line); !(len(w) > 1 && (strings.HasPrefix(w[0], "2"))) || strings.Contains(line, " service-ips 0a") || strings.Contains(line, " table kpng") {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	var told strings.Builder
	refuse(" service-ips 0a00000c", no)
	told.WriteString(brief(func() { a.mustStep("the third of five is refused", all...) }))
	require.Len(t, a.table.refused, 1)
	require.ErrorIs(t, a.table.refused[all[2].Name], syscall.EINVAL)
	require.Contains(t, a.table.stats.LastError, "nftables: Service test/s2 not programmed in table ip kpng: ")
	told.WriteString(brief(func() { a.mustStep("it is tried again", all...) }))
	require.Len(t, a.table.refused, 1)
	a.kernel.fault = nil
	told.WriteString(brief(func() { a.mustStep("it is not refused any more", all...) }))
	require.Empty(t, a.table.refused)
	refuse("", no)
	told.WriteString(brief(func() { require.ErrorIs(t, a.step("everything is refused", all[1:]...), syscall.EINVAL) }))
	require.Empty(t, a.table.refused)
	require.Nil(t, a.table.state)
	require.Contains(t, a.table.stats.LastError, "an empty table is refused as well")
	refuse("", errors.New("the kernel is away"))
	told.WriteString(brief(func() { require.ErrorContains(t, a.step("nobody knows", all[1:]...), "the kernel is away") }))
	a.kernel.fault = nil
	told.WriteString(brief(func() { a.mustStep("all is well", all...) }))
	golden(t, "refused", told.String())
}
