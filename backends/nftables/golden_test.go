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

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A recordingKernel is a transport that records transactions as text.
type recordingKernel struct {
	log   strings.Builder
	fault func(commit bool, text string) error // injected errors; may be nil
	sets  map[string][]nfnl.Element
	gets  []string // to be recorded
}

func (k *recordingKernel) record(verb string, b *nfnl.Batch) error {
	slices.Sort(k.gets)
	k.log.WriteString(strings.Join(k.gets, ""))
	k.gets = nil
	text := normalize(decode(b))
	fmt.Fprintf(&k.log, "%s\n%s", verb, text)
	if k.fault != nil {
		if err := k.fault(verb == "commit", text); err != nil {
			fmt.Fprintf(&k.log, "-> %v\n", err)
			return err
		}
	}
	return nil
}

func (k *recordingKernel) Commit(b *nfnl.Batch) error { return k.record("commit", b) }
func (k *recordingKernel) Check(b *nfnl.Batch) error  { return k.record("check", b) }

func (k *recordingKernel) Elements(_ uint8, table, set string) ([]nfnl.Element, error) {
	fmt.Fprintf(&k.log, "read %s %s\n", table, set)
	if all, ok := k.sets[set]; ok {
		return all, nil
	}
	return nil, syscall.ENOENT
}

// Get returns the elements of the map with the keys. It records them in order, because the order
// of removed elements is undefined.
func (k *recordingKernel) Get(_ uint8, table, set string, keys []byte) (found []nfnl.Element, err error) {
	for want := range nfnl.ParseElements(keys) {
		k.gets = append(k.gets, fmt.Sprintf("get %s %s %s\n", table, set, words(want.Key)))
	}
	for want := range nfnl.ParseElements(keys) {
		at := slices.IndexFunc(k.sets[set], func(e nfnl.Element) bool { return string(e.Key) == string(want.Key) })
		if at < 0 {
			return nil, syscall.ENOENT
		}
		found = append(found, k.sets[set][at])
	}
	return found, nil
}

// manyElements is the number of elements of an index above which golden files have their number.
const manyElements = 100

// normalize leaves out most of the preallocated load-balancing chains, counts the elements of
// indexes of consistent selection, and sorts operations whose order is undefined.
func normalize(text string) string {
	index := regexp.MustCompile(`(?m)^(\S+ (?:add|remove) \S+ index-\S+) .*\n`)
	counts := map[string]int{}
	for _, m := range index.FindAllStringSubmatch(text, -1) {
		counts[m[1]]++
	}
	text = index.ReplaceAllStringFunc(text, func(line string) string {
		operation := index.FindStringSubmatch(line)[1]
		n := counts[operation]
		if n > 0 && n <= manyElements {
			return line
		}
		counts[operation] = 0 // only the first line
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%s elements: %d\n", operation, n)
	})
	lbChain := regexp.MustCompile(`(?:chain|rule) \S+ loadbalance-(service|nodeport)-pool1-(\d+)(:| |$)`)
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := lbChain.FindStringSubmatch(line); m != nil && !slices.Contains([]string{"1", "8", "9", "32"}, m[2]) {
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

// golden compares text with a file in testdata; UPDATE_GOLDEN=1 updates the file.
func golden(t *testing.T, name, text string) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("numbers in the files are little-endian")
	}
	path := filepath.Join("testdata", name+".txt")
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "%s; if the new text is right, run with UPDATE_GOLDEN=1", path)
}

// A goldenTest applies a sequence of states to a table and records the transactions.
type goldenTest struct {
	t      *testing.T
	f      *family
	table  *table
	kernel *recordingKernel
	node   *localsink.Node
	state  serviceList
}

func newGoldenTest(t *testing.T, f *family, cfg Config) *goldenTest {
	c, err := cfg.withDefaults()
	require.NoError(t, err)
	k := &recordingKernel{}
	return &goldenTest{t: t, f: f, kernel: k, table: newTable(f, c, k), node: &localsink.Node{}}
}

// step applies a state and returns the error of the table.
func (a *goldenTest) step(title string, services ...*localsink.Service) error {
	fmt.Fprintf(&a.kernel.log, "# %s\n", title)
	u := nextUpdate(a.node, a.state, services)
	a.state = services
	err := a.table.sync(u, contract.TouchedServices(u))
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

// addr returns an address of the test's family.
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

// pool returns a pool of endpoints, of which those with even numbers are local.
func (a *goldenTest) pool(ids ...byte) localsink.Pool {
	var p localsink.Pool
	for _, i := range ids {
		p.Endpoints = append(p.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(a.addr(100+i), 8080), Local: i%2 == 0, Weight: 1})
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

// runGoldenTest runs a test for both families and compares the recorded transactions.
func runGoldenTest(t *testing.T, name string, f func(a *goldenTest)) {
	t.Helper()
	runGoldenTestWith(t, name, Config{}, f)
}

func runGoldenTestWith(t *testing.T, name string, cfg Config, f func(a *goldenTest)) {
	t.Helper()
	for _, fam := range families() {
		t.Run(fam.name, func(t *testing.T) {
			a := newGoldenTest(t, fam, cfg)
			f(a)
			golden(t, name+"-"+fam.name, a.kernel.log.String())
		})
	}
}

// TestGoldenStaticChains covers what each table has, and the node's properties in rules.
func TestGoldenStaticChains(t *testing.T) {
	runGoldenTest(t, "table", func(a *goldenTest) {
		prefix := func(s ...string) (all []netip.Prefix) {
			for _, p := range s {
				all = append(all, netip.MustParsePrefix(p))
			}
			return all
		}
		a.mustStep("node without properties")
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
		a.mustStep("node with all properties", a.service([]localsink.Pool{a.pool(1, 2), a.pool(2)}, a.frontend(localsink.KindExternalIP, 1, ways...)))
		everything := *a.node
		everything.NodePortAddresses = prefix("0.0.0.0/0", "::/0")
		a.node = &everything
		a.mustStep("all addresses answer on node ports", a.state...)
		a.mustStep("no change", a.state...)
	})
}

// TestGoldenKinds covers the kinds of frontends and routes, and their removal.
func TestGoldenKinds(t *testing.T) {
	runGoldenTest(t, "kinds", func(a *goldenTest) {
		a.mustStep("no Services")
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
		a.mustStep("source ranges and a frontend are removed", a.service(pools, append(slices.Clone(all[:5]), open)...))
		udp := a.service(pools, all[0], all[1])
		udp.Ports[0].Protocol = localsink.ProtocolUDP
		udp.Ports = append(udp.Ports, localsink.Port{Protocol: localsink.ProtocolSCTP, Pools: pools, Frontends: all[:1]})
		a.mustStep("other protocols", udp)
		a.mustStep("no Services again")
	})
}

// TestGoldenEndpoints covers the operations of changes of endpoints.
func TestGoldenEndpoints(t *testing.T) {
	runGoldenTest(t, "endpoints", func(a *goldenTest) {
		apply := func(title string, ids ...byte) {
			a.mustStep(title, a.service([]localsink.Pool{a.pool(ids...)}, a.frontend(localsink.KindClusterIP, 1), a.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})))
		}
		apply("three endpoints", 1, 2, 3)
		apply("one is replaced", 1, 3, 4)
		apply("one is added", 1, 3, 4, 5)
		apply("the first is removed", 3, 4, 5)
		apply("all are removed")
		var many []byte
		for i := range byte(9) {
			many = append(many, 2*i+1)
		}
		apply("nine, from another endpoint map", many...)
		apply("eight", many[:8]...)
		for i := range byte(31) {
			many = append(many, 2*i+101)
		}
		apply("forty, without a preallocated chain", many[:40]...)
	})
}

// TestGoldenAffinity covers the operations of changes of a port with affinity.
func TestGoldenAffinity(t *testing.T) {
	runGoldenTest(t, "affinity", func(a *goldenTest) {
		a.mustStep("no Services")
		apply := func(title string, d time.Duration, pools ...localsink.Pool) {
			s := a.service(pools, a.frontend(localsink.KindClusterIP, 1), a.frontend(localsink.KindNodePort, 1,
				localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: len(pools) - 1, Masquerade: true}))
			s.Ports[0].Affinity = d
			a.mustStep(title, s)
		}
		id := newAffinityID(localsink.ServiceName{Namespace: "test", Name: "web"}, &localsink.Port{Protocol: localsink.ProtocolTCP}, 0)
		entry := func(client byte, slot uint32, remaining time.Duration) nfnl.Element {
			return nfnl.Element{Key: a.addr(client).AsSlice(), Data: native(slot), Expires: remaining}
		}
		endpoint := func(slot uint32, endpoint byte) nfnl.Element {
			return nfnl.Element{Key: native(slot), Data: appendPort(a.addr(100+endpoint).AsSlice(), 8080)}
		}
		apply("one pool", time.Hour, a.pool(1, 2))
		apply("one more endpoint", time.Hour, a.pool(1, 2, 3))
		a.kernel.sets = map[string][]nfnl.Element{
			entriesMapName(id, 0):          {entry(200, 0, time.Minute), entry(201, 1, time.Minute), entry(202, 2, 2*time.Hour)},
			poolEndpointsMapName(id, 1, 0): {endpoint(0, 1), endpoint(1, 2), endpoint(2, 3)},
		}
		apply("one is removed", time.Hour, a.pool(2, 3))
		a.kernel.sets = nil
		apply("another timeout", 90*time.Minute, a.pool(2, 3))
		apply("two pools that share one endpoint", 90*time.Minute, a.pool(2, 3), a.pool(3, 5))
		apply("the second pool is empty", 90*time.Minute, a.pool(2, 3), localsink.Pool{})
		apply("two pools again", 90*time.Minute, a.pool(2, 3), a.pool(5, 7))
		a.kernel.sets = map[string][]nfnl.Element{
			entriesMapName(id, 1):          {entry(203, 0, time.Minute), entry(204, 3, time.Minute)},
			poolEndpointsMapName(id, 1, 1): {endpoint(0, 2), endpoint(1, 3)},
			poolEndpointsMapName(id, 2, 1): {endpoint(2, 5), endpoint(3, 7)},
		}
		apply("the first pool is removed", 90*time.Minute, a.pool(5, 7))
		a.kernel.sets = nil
		apply("affinity is disabled", 0, a.pool(2, 3))
		apply("affinity is enabled, with the shortest timeout", time.Nanosecond, a.pool(2, 3))
		a.mustStep("the Service is removed")
	})
}

func TestUnusedChainsAreDeleted(t *testing.T) {
	a := newGoldenTest(t, ipv4(), Config{})
	for i := range byte(maxUnusedChains + 2) {
		fe := a.frontend(localsink.KindExternalIP, 1)
		fe.SourceRanges = []netip.Prefix{netip.PrefixFrom(a.addr(i), 32)}
		a.mustStep(fmt.Sprint("source ", i), a.service([]localsink.Pool{{}}, fe))
	}
	log := a.kernel.log.String()
	require.Equal(t, maxUnusedChains+1, strings.Count(log, " del chain "))
	require.Less(t, strings.Index(log, fmt.Sprint("# source ", maxUnusedChains+1)), strings.Index(log, " del chain "), "only when there are many")
	require.Contains(t, log[strings.Index(log, "# source 65"):], "holds 75 chains, 12 sets, 2 elements")
	fe := a.frontend(localsink.KindExternalIP, 1)
	fe.SourceRanges = []netip.Prefix{netip.PrefixFrom(a.addr(0), 32)}
	a.mustStep("the first source again", a.service([]localsink.Pool{{}}, fe))
	again := a.kernel.log.String()[len(log):]
	require.Contains(t, again, " new chain kpng "+newSourceRanges(a.f, fe.SourceRanges).name+" ", "the chain was deleted")
	require.NotContains(t, again, " del chain ", "each chain is deleted once")
}

// TestGoldenRefused covers the search for a refused Service, and retries.
func TestGoldenRefused(t *testing.T) {
	a := newGoldenTest(t, ipv4(), Config{})
	var all []*localsink.Service
	for i := range byte(5) {
		s := a.service([]localsink.Pool{a.pool(1)}, a.frontend(localsink.KindExternalIP, 10+i))
		s.Name.Name = fmt.Sprint("s", i)
		all = append(all, s)
	}
	a.mustStep("one", all[0])
	refuse := func(text string, err error) {
		a.kernel.fault = func(commit bool, log string) error {
			if strings.Contains(log, text) {
				return err
			}
			return nil
		}
	}
	refusal := &nfnl.Error{Errno: syscall.EINVAL, Detail: "injected error"}
	// The full text of these transactions is long; this test needs only their sequence.
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
	var log strings.Builder
	refuse(" service-ips 0a00000c", refusal)
	log.WriteString(brief(func() { a.mustStep("the third of five is refused", all...) }))
	require.Len(t, a.table.refused, 1)
	require.ErrorIs(t, a.table.refused[all[2].Name], syscall.EINVAL)
	require.Contains(t, a.table.stats.LastError, "nftables: Service test/s2 not programmed in table ip kpng: ")
	log.WriteString(brief(func() { a.mustStep("it is retried", all...) }))
	require.Len(t, a.table.refused, 1)
	a.kernel.fault = nil
	log.WriteString(brief(func() { a.mustStep("it is accepted", all...) }))
	require.Empty(t, a.table.refused)
	refuse("", refusal)
	log.WriteString(brief(func() { require.ErrorIs(t, a.step("everything is refused", all[1:]...), syscall.EINVAL) }))
	require.Empty(t, a.table.refused)
	require.Nil(t, a.table.state)
	require.Contains(t, a.table.stats.LastError, "refused even without Services")
	refuse("", errors.New("no reply"))
	log.WriteString(brief(func() { require.ErrorContains(t, a.step("the outcome is unknown", all[1:]...), "no reply") }))
	a.kernel.fault = nil
	log.WriteString(brief(func() { a.mustStep("everything is accepted", all...) }))
	golden(t, "refused", log.String())
}
