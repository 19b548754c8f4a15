// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// A testPackage is a package below backends/ whose tests run in the guests.
type testPackage struct {
	name string
	// minimum is the Linux version that the backend needs. On earlier ones only the test
	// KernelVersion runs, which expects that the backend refuses the kernel.
	minimum version
	quick   []testRun
	every   []testRun
}

// A version is major and minor, as in 6.1.
type version struct{ major, minor int }

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

// quickstart selects examples/quickstart, which runs after the tests of packages.
const quickstart = "quickstart"

// nftablesMinimum returns the Linux version that backends/nftables needs.
func nftablesMinimum() version { return version{5, 13} }

// A testRun is one run of its test binary.
type testRun struct {
	pattern string // of tests, as of -run
	env     string // NAME=VALUE, for the shell
	// minimum is the Linux version that these tests need, if it is later than that of the package.
	minimum version
}

func (p testPackage) runs(v version, all bool) []testRun {
	if v.before(p.minimum) {
		return p.refused()
	}
	tooEarly := func(r testRun) bool { return v.before(r.minimum) }
	if all && !slices.ContainsFunc(p.every, tooEarly) {
		return p.every
	}
	return slices.DeleteFunc(slices.Clone(p.quick), tooEarly)
}

func (p testPackage) refused() []testRun {
	if p.name == "backendtest" { // needs a backend
		return nil
	}
	return []testRun{{pattern: "^TestKernelVersion$"}}
}

// packages returns the tests.
func packages() []testPackage {
	return []testPackage{
		{
			name: "ebpf", minimum: version{5, 18},
			quick: []testRun{{pattern: "^Test(KernelVersion|Connections|UnconnectedUDP|Refused|Restart|SocketsOfRemovedEndpoints|Drift|ExcludedNamespace|" +
				"SourceRanges|Affinity|NodePorts|MapUsage|RewritesAreNotRecordedByDefault|Cleanup|PeersOfClosedSocketsAreFreed)$"},
				{pattern: "^Test(Outside|OutsideLeft|OutsideRemovedEndpoint|OutsideOddPackets|OutsideRestart|Devices)$"}},
			every: []testRun{{pattern: "."}},
		},
		{
			name: "nftables", minimum: nftablesMinimum(),
			quick: []testRun{{pattern: "^Test(KernelVersion|ClusterIPReachesEndpoint|HairpinIsMasqueraded|AffinityKeepsEndpoint|" +
				"ConsistentSelectionIsAsPredicted|ExternalChangesAreRepaired|ConnectionsAreCounted|NftListsTable)$"}},
			every: []testRun{{pattern: "."}},
		},
		{
			name: "conntrack",
			quick: []testRun{
				{pattern: "^Test(CutEntriesOfTheKernel|CutInAllZones|CT03CT05RemovesStaleEntriesOnly)$"},
				{pattern: "^TestClientReachesCurrentEndpointAfterCut$", minimum: nftablesMinimum()},
			},
			every: []testRun{{pattern: ".", minimum: nftablesMinimum()}},
		},
		{
			name:  "iptables",
			quick: []testRun{{pattern: "^Test(DriftIsRepaired|CleanupRemovesEverything)$"}},
			every: []testRun{{pattern: "."}},
		},
		{
			name: "backendtest", minimum: version{5, 18},
			quick: []testRun{
				{pattern: "^TestConformance$/.*/^(DP-01|DP-15|DP-22|DP-30|CT-03|OP-05|OP-16)$"},
				{pattern: "^TestConformanceEBPF$", env: "KPNG_CONFORMANCE=DP-01,DP-15,DP-22,OP-16"},
			},
			every: []testRun{
				{pattern: "^TestConformance$"}, {pattern: "^TestConformanceEBPF$", env: "KPNG_CONFORMANCE=all"},
				{pattern: "^TestConformanceIptables$", env: "KPNG_CONFORMANCE=all"},
			},
		},
	}
}

func names() []string {
	var all []string
	for _, p := range packages() {
		all = append(all, p.name)
	}
	return append(all, quickstart)
}
