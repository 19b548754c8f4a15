// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/internal/umltest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestInUserMode runs the tests TestKernel... on a kernel with IPVS.
func TestInUserMode(t *testing.T) {
	if umltest.Inside() {
		t.Skip("runs on the host")
	}
	umltest.Run(t, umltest.Guest{
		Flags:   []string{"-test.v", "-test.run=^TestKernel"},
		Modules: []string{"ipv6", "ip_vs", "veth", "dummy"}, TimeLimit: 10 * time.Minute,
	})
}

// inUserMode skips t outside of a kernel with IPVS, and returns a namespace of it.
func inUserMode(t *testing.T) *netnstest.Namespace {
	t.Helper()
	if !umltest.Inside() {
		t.Skip("TestInUserMode runs this test")
	}
	return netnstest.New(t)
}

// TestNewWithoutIPVS: the error names the module.
func TestNewWithoutIPVS(t *testing.T) {
	if _, err := netlink.GenlFamilyGet("IPVS"); err == nil {
		t.Skip("this kernel has IPVS")
	}
	_, err := New(Config{})
	require.ErrorIs(t, err, ErrNoIPVS)
	require.ErrorContains(t, err, "modprobe ip_vs")
	require.NoError(t, Cleanup(Config{}))
}

// A kernelFixture is a backend in a namespace of a kernel.
type kernelFixture struct {
	*sinktest.Driver
	t  *testing.T
	ns *netnstest.Namespace
	b  *Backend
}

func newKernelFixture(t *testing.T, ns *netnstest.Namespace, cfg Config) *kernelFixture {
	t.Helper()
	f := &kernelFixture{t: t, ns: ns}
	cfg.IPTables = "legacy"
	ns.Do(func() (err error) {
		f.b, err = New(cfg)
		return err
	})
	t.Cleanup(func() { require.NoError(t, f.b.Close()) })
	f.Driver = &sinktest.Driver{Sink: f.b, Node: testNode()}
	return f
}

func (f *kernelFixture) sync(services ...*localsink.Service) {
	f.t.Helper()
	f.ns.Do(func() error { return f.Sync(f.t.Context(), sinktest.NewState(services...)) })
}

// output returns the output of a command in the namespace.
func (f *kernelFixture) output(name string, args ...string) string {
	f.t.Helper()
	out, err := f.ns.Command(name, args...)
	require.NoError(f.t, err)
	return out
}

// fullService returns a Service with what has an effect on the kernel.
func fullService() *localsink.Service {
	s := localTrafficOnly(endpoints("10.244.0.1:8080"))
	p := &s.Ports[0]
	p.Pools[0].Endpoints[1].Weight = 3
	p.Frontends[1].SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")}
	p.Frontends = append(p.Frontends, localsink.Frontend{Kind: localsink.KindNodePort, Addr: addrPort("0.0.0.0:30080"), Routes: []localsink.Route{{Masquerade: true}}})
	six := service("", "[fd00:96::1]:53", endpoints("[fd00:244::1]:53"), func(p *localsink.Port) {
		p.Protocol, p.Selection, p.Name = localsink.ProtocolUDP, localsink.SelectionFlow, "dns"
	})
	sctp := service("", "10.96.0.2:7", endpoints("10.244.0.1:7"), func(p *localsink.Port) {
		p.Protocol, p.Affinity, p.Name = localsink.ProtocolSCTP, time.Hour, "sctp"
	})
	s.Ports = append(s.Ports, six.Ports[0], sctp.Ports[0])
	return s
}

// describeKernel returns what the kernel has, as the system's own tools print it.
func (f *kernelFixture) describe() string {
	var sets []string
	for line := range strings.Lines(f.output("ipset", "save")) {
		if strings.HasPrefix(line, "add ") {
			sets = append(sets, line)
		}
	}
	slices.Sort(sets)
	servers := strings.Split(f.output("ipvsadm", "-S", "-n"), "\n")
	slices.Sort(servers)
	addresses := strings.Split(f.output("ip", "-o", "address", "show", "dev", DefaultDevice), "\n")
	for i, line := range addresses {
		fields := strings.Fields(line)
		addresses[i] = strings.Join(fields[min(1, len(fields)):min(4, len(fields))], " ") // without the number of the interface
	}
	slices.Sort(addresses)
	var rules []string
	for _, family := range []string{"iptables", "ip6tables"} {
		for line := range strings.Lines(f.output(family + "-legacy-save")) {
			if strings.Contains(line, "KPNG") {
				rules = append(rules, line)
			}
		}
	}
	return strings.Join(servers, "\n") + strings.Join(sets, "") + strings.Join(addresses, "\n") +
		strings.Join(rules, "")
}

func TestKernelHasWhatIsProgrammed(t *testing.T) {
	ns := inUserMode(t)
	ns.Do(func() error { return exec.Command("ip", "address", "add", "192.0.2.10/24", "dev", "lo").Run() })
	f := newKernelFixture(t, ns, Config{StrictARP: true, TCPTimeout: 1000 * time.Second, UDPTimeout: 77 * time.Second})
	f.sync(fullService())

	servers := f.output("ipvsadm", "-S", "-n")
	for _, want := range []string{
		"-A -t 10.96.0.1:80 -s wrr\n-a -t 10.96.0.1:80 -r 10.244.0.1:8080 -m -w 1\n-a -t 10.96.0.1:80 -r 10.244.1.1:8080 -m -w 3\n",
		"-A -t 203.0.113.1:80 -s rr\n-a -t 203.0.113.1:80 -r 10.244.0.1:8080 -m -w 1\n",
		"-A -t 192.0.2.10:30080 -s wrr\n",
		"-A --sctp-service 10.96.0.2:7 -s rr -p 3600\n",
		"-A -u [fd00:96::1]:53 -s mh -b flag-1,flag-2",
		"-A -f ",
	} {
		require.Contains(t, strings.ReplaceAll(servers, "mh-fallback,mh-port", "flag-1,flag-2"), want)
	}
	require.Contains(t, f.output("ipvsadm", "-L", "--timeout"), "1000 120 77")
	sets := f.output("ipset", "save")
	require.Contains(t, sets, "add KPNG-SOURCES 203.0.113.1,tcp:80,192.0.2.0/24")
	require.Contains(t, sets, "add KPNG-ADDRESSES 10.96.0.1")
	require.Contains(t, sets, "add KPNG-6-SERVICES fd00:96::1,udp:53")
	require.Contains(t, sets, "add KPNG-SERVICES 192.0.2.10,tcp:30080 skbmark 0x4000/0x4000")
	require.NotContains(t, sets, temporary)
	require.Contains(t, f.output("ip", "address", "show", "dev", DefaultDevice), "inet 203.0.113.1/32")
	for path, want := range map[string]string{
		"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2", "net/ipv4/vs/conntrack": "1",
		"net/ipv4/vs/expire_nodest_conn": "1", "net/ipv4/vs/expire_quiescent_template": "1", "net/ipv4/ip_forward": "1",
	} {
		ns.Do(func() error {
			got, err := os.ReadFile("/proc/sys/" + path)
			require.Equal(t, want, strings.TrimSpace(string(got)), path)
			return err
		})
	}

	before := f.describe()
	f.sync(fullService())
	require.Equal(t, before, f.describe())
	restarted := newKernelFixture(t, ns, Config{})
	restarted.sync(fullService())
	require.Equal(t, before, f.describe(), "a restart adopts")

	restarted.sync()
	require.NotContains(t, f.describe(), "10.96.0.1")
	restarted.sync(fullService())                                  // with node ports
	f.output("ipvsadm", "-A", "-t", "198.51.100.1:80", "-s", "rr") // of another program
	f.output("ipvsadm", "-A", "-t", "192.0.2.10:99", "-s", "rr")
	ns.Do(func() error { return Cleanup(Config{IPTables: "legacy"}) })
	require.Equal(t, "-A -t 192.0.2.10:99 -s rr\n-A -t 198.51.100.1:80 -s rr\n", sortedLines(f.output("ipvsadm", "-S", "-n")))
	require.Empty(t, f.output("ipset", "save"))
	require.NotContains(t, f.output("iptables-legacy-save")+f.output("ip6tables-legacy-save"), "KPNG")
	require.NotContains(t, f.output("ip", "link"), DefaultDevice)
	ns.Do(func() error { return Cleanup(Config{IPTables: "legacy"}) })
}

func TestKernelAcceptsEachScheduler(t *testing.T) {
	f := newKernelFixture(t, inUserMode(t), Config{})
	for i, name := range schedulers() {
		key := serverKey{mark: uint32(i + 1)}
		require.NoError(t, f.b.kernel.AddServer(key, serverOptions{scheduler: name}))
		require.NoError(t, f.b.kernel.UpdateServer(key, serverOptions{scheduler: name, affinity: 60}))
		require.Contains(t, f.output("ipvsadm", "-S", "-n"), fmt.Sprintf("-A -f %d -s %s -p 60\n", i+1, name))
	}
	for selection, want := range map[localsink.Selection]string{
		localsink.SelectionClient: "mh -b mh-fallback\n", localsink.SelectionFlow: "mh -b mh-fallback,mh-port\n", localsink.SelectionLeastConnections: "lc\n",
	} {
		f.sync(service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), func(p *localsink.Port) { p.Selection = selection }))
		require.Contains(t, f.output("ipvsadm", "-S", "-n"), "-A -t 10.96.0.1:80 -s "+want)
	}
}

func TestKernelChangesAreRepaired(t *testing.T) {
	ns := inUserMode(t)
	f := newKernelFixture(t, ns, Config{})
	f.sync(fullService())
	before := f.describe()
	for _, command := range []string{
		"ipvsadm -C", "ipvsadm -e -t 10.96.0.1:80 -r 10.244.0.1:8080 -m -w 9", "ipset flush KPNG-SERVICES",
		"iptables-legacy -t filter -F INPUT", "ip6tables-legacy -t nat -F KPNG-MASQUERADE", "ip link del kube-ipvs0",
	} {
		words := strings.Fields(command)
		f.output(words[0], words[1:]...)
		select {
		case <-f.b.ResyncRequested():
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: not detected", command)
		}
		if strings.HasPrefix(command, "ip link") {
			require.NotContains(t, f.output("ip", "link"), DefaultDevice, "the check of drift changes nothing")
		}
		f.sync(fullService())
		require.Equal(t, before, f.describe(), command)
		require.True(t, f.b.DriftedSince().IsZero())
	}
}

func TestKernelFollowsNodeAddresses(t *testing.T) {
	ns := inUserMode(t)
	f := newKernelFixture(t, ns, Config{})
	f.sync(fullService())
	require.NotContains(t, f.output("ipvsadm", "-S", "-n"), ":30080")
	f.output("ip", "address", "add", "192.0.2.77/24", "dev", "lo")
	select {
	case <-f.b.ResyncRequested():
	case <-time.After(30 * time.Second):
		t.Fatal("not detected")
	}
	require.True(t, f.b.DriftedSince().IsZero())
	f.sync(fullService())
	require.Contains(t, f.output("ipvsadm", "-S", "-n"), "-A -t 192.0.2.77:30080")
}

// TestKernelRefusesAddress: an address that the API accepts and the kernel does not affects no other,
// also not one that is link-local in IPv4, nor does it look like a change by another program.
func TestKernelRefusesAddress(t *testing.T) {
	ns := inUserMode(t)
	f := newKernelFixture(t, ns, Config{})
	multicast := service("multicast", "[ff0e::1]:80", endpoints("[fd00:244::1]:80"), nil)
	linkLocal := service("link-local", "169.254.10.1:80", endpoints("10.244.0.1:80"), nil)
	f.sync(multicast, linkLocal, fullService())
	require.ErrorIs(t, f.b.NotProgrammed()[multicast.Name], errAddressRefused)
	require.ErrorContains(t, f.b.NotProgrammed()[multicast.Name], "add address ff0e::1 to "+DefaultDevice)
	require.Len(t, f.b.NotProgrammed(), 1)
	addresses := f.output("ip", "address", "show", "dev", DefaultDevice)
	require.Contains(t, addresses, "169.254.10.1/32")
	require.Contains(t, addresses, "10.96.0.1/32")
	f.output("ip", "link", "add", "pod0", "type", "dummy")
	f.output("ip", "link", "set", "pod0", "up") // has a link-local address
	dumps := f.describe()
	f.ns.Do(func() error {
		device, node, err := f.b.kernel.Addresses()
		require.NotContains(t, fmt.Sprint(device, node), "fe80")
		return err
	})
	f.sync(multicast, linkLocal, fullService())
	require.Equal(t, dumps, f.describe())
	require.True(t, f.b.DriftedSince().IsZero())
}

// TestKernelRefusalsNameTheRemedy: a missing command and a device of another type are explained.
func TestKernelRefusalsNameTheRemedy(t *testing.T) {
	ns := inUserMode(t)
	t.Setenv("PATH", "/nonexistent")
	err := ns.Run(func() error {
		_, err := New(Config{})
		return err
	})
	require.ErrorIs(t, err, exec.ErrNotFound)
	require.ErrorContains(t, err, "the package iptables")
}

func TestKernelDeviceMustBeDummy(t *testing.T) {
	f := newKernelFixture(t, inUserMode(t), Config{Device: "lo"})
	err := f.ns.Run(func() error { return f.Sync(t.Context(), sinktest.NewState()) })
	require.ErrorContains(t, err, "Config.Device: interface lo is of type device, want dummy")
}

// BenchmarkKernel measures a first Sync of 1,000 Services with 10 endpoints, and the change of one
// endpoint.
func BenchmarkKernel(b *testing.B) {
	if !umltest.Inside() {
		b.Skip("needs a kernel with IPVS")
	}
	ns := netnstest.New(b)
	all := make([]*localsink.Service, 1000)
	list := func(last int) (all []localsink.Endpoint) {
		for i := range 9 {
			all = append(all, endpoints(fmt.Sprintf("10.244.1.%d:80", i+1))...)
		}
		return append(all, endpoints(fmt.Sprintf("10.244.2.%d:80", last+1))...)
	}
	for i := range all {
		all[i] = service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d:80", i/250, i%250+1), list(0), nil)
	}
	for b.Loop() {
		ns.Do(func() error {
			backend, err := New(Config{IPTables: "legacy"})
			if err != nil {
				return err
			}
			d := &sinktest.Driver{Sink: backend, Node: testNode()}
			start := time.Now()
			err = d.Sync(b.Context(), sinktest.NewState(all...))
			b.ReportMetric(float64(time.Since(start).Milliseconds()), "first-ms")
			changed := time.Now()
			for i := range 100 {
				all[7] = service("s7", "10.96.0.8:80", list(i+1), nil)
				err = errors.Join(err, d.Sync(b.Context(), sinktest.NewState(all...)))
			}
			b.ReportMetric(float64(time.Since(changed).Microseconds())/100, "change-us")
			return errors.Join(err, backend.Close(), Cleanup(Config{IPTables: "legacy"}))
		})
	}
}

// sortedLines returns a text with its lines in order.
func sortedLines(text string) string {
	lines := slices.Collect(strings.Lines(text))
	slices.Sort(lines)
	return strings.Join(lines, "")
}
