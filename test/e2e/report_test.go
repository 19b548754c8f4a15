// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/benchreport"
	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/netns"
)

const kpngPackage = "sigs.k8s.io/kpng/examples/kpng"

// TestReport measures the real kube-proxy, the drop-in in each mode and the agent under the same load, and
// writes a table and plots. It runs only if KPNG_REPORT is set, to the page that gets them. KPNG_REPORT_SIZES
// has the numbers of Services, KPNG_REPORT_PROGRAMS selects programs by a regular expression, and
// KPNG_REPORT_CHANGES is the number of endpoint changes. Results are added to KPNG_REPORT_RESULTS, so
// another run replaces only what it measures.
func TestReport(t *testing.T) {
	page := os.Getenv("KPNG_REPORT")
	if page == "" {
		t.Skip("measures for many minutes: call make bench-report")
	}
	results := cmp.Or(os.Getenv("KPNG_REPORT_RESULTS"), filepath.Join(t.TempDir(), "results"))
	selected, err := regexp.Compile(os.Getenv("KPNG_REPORT_PROGRAMS"))
	require.NoError(t, err)
	for size := range strings.FieldsSeq(cmp.Or(os.Getenv("KPNG_REPORT_SIZES"), "1000 10000 44000")) {
		t.Run(size, func(t *testing.T) {
			s := scale{endpoints: 2, replacements: 30, paced: 300}
			s.services, err = strconv.Atoi(size)
			require.NoError(t, err, "KPNG_REPORT_SIZES")
			if changes := os.Getenv("KPNG_REPORT_CHANGES"); changes != "" {
				s.paced, err = strconv.Atoi(changes)
				require.NoError(t, err, "KPNG_REPORT_CHANGES")
				s.replacements = min(s.replacements, s.paced)
			}
			fx := newFixture(t)
			s.load(t, fx)
			for _, p := range reportPrograms() {
				if selected.MatchString(p.name) {
					t.Run(p.name, func(t *testing.T) { s.report(t, fx, p, results) })
				}
			}
		})
	}
	if t.Failed() {
		return
	}
	all, err := benchreport.Read(results)
	require.NoError(t, err)
	require.NoError(t, benchreport.Write(all, page, benchreport.Machine()))
}

// A reportProgram creates a proxy for the time of one test.
type reportProgram struct {
	name string
	new  func(t *testing.T, fx *fixture) *proxyUnderTest
}

func reportPrograms() []reportProgram {
	fixed := func(p *proxyUnderTest) func(*testing.T, *fixture) *proxyUnderTest {
		return func(*testing.T, *fixture) *proxyUnderTest { return p }
	}
	all := proxies()
	all[2].legacyIPTables, all[3].legacyIPTables = true, true // iptables-nft would need hours
	return []reportProgram{
		{"kpng nftables", fixed(all[0])},
		{"kube-proxy nftables", fixed(all[1])},
		{"kpng ebpf", func(t *testing.T, fx *fixture) *proxyUnderTest { return newEBPFProxy(t, fx) }},
		{"kpng agent", newAgent},
		{"kpng iptables", fixed(all[3])},
		{"kube-proxy iptables", fixed(all[2])},
		{"kpng ipvs", func(t *testing.T, _ *fixture) *proxyUnderTest {
			if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
				t.Skip("the kernel has no IPVS")
			}
			return ipvsProxy()
		}},
	}
}

// newAgent starts a server, waits until it is ready, and returns an agent that is its client.
func newAgent(t *testing.T, fx *fixture) *proxyUnderTest {
	paths, err := fx.binaries.Build(t.Context(), kpngPackage)
	require.NoError(t, err)
	const serverMetrics = "127.0.0.1:10299"
	sockets, err := os.MkdirTemp("", "kpng") //nolint:usetesting // the path of a socket is short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(sockets)) })
	address := "unix://" + filepath.Join(sockets, "server")
	server, err := fx.Node.Namespace.Run(netns.Program{Name: "kpng-server", Path: paths[0], Dir: fx.dir, Args: []string{
		"run", "--from", "kube", "--kubeconfig", fx.kubeconfig, "--cluster-cidr", cluster.PodCIDR4 + "," + cluster.PodCIDR6, "--to", "serve-node:" + address,
		"--metrics", serverMetrics,
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Kill()) })
	eventually(t, scaleLimit, "the server has the state of the cluster", func() error {
		return fx.wantStatus(t, serverMetrics, "/readyz", http.StatusOK)
	})
	return &proxyUnderTest{
		name: "kpng-agent", pkg: kpngPackage, mode: "nftables", cleanup: []string{"cleanup"},
		run: []string{"run", "--node", cluster.NodeName, "--from", "node:" + address, "--to", "nftables,conntrack,healthcheck"},
	}
}

// report measures one program and adds the result to a file.
func (s scale) report(t *testing.T, fx *fixture, program reportProgram, file string) {
	p := program.new(t, fx)
	f := figures{name: program.name}
	s.measureStart(t, fx, p, &f)
	s.measureToPacket(t, fx, p, &f)
	before := cpu(t, p.process)
	s.changePaced(t, fx, &f)
	perChange := (cpu(t, p.process) - before) / time.Duration(s.paced)
	memory, peak, err := p.process.Memory()
	require.NoError(t, err)
	p.clean(t, fx)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r := benchreport.Result{
		Program: program.name, Services: s.services, Endpoints: s.endpoints, Start: f.start.Round(time.Millisecond).Seconds(),
		Latency: ms(f.toPacket50), LatencyHigh: ms(f.toPacket90), CPU: ms(perChange), Memory: float64(memory) / 1e6, Peak: float64(peak) / 1e6, Changes: s.paced,
	}
	t.Logf("%+v", r)
	require.NoError(t, benchreport.Append(file, r))
}
