// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/hns/hnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// The tests of this file are the public reports about kube-proxy on Windows, by their number at
// github.com/kubernetes/kubernetes/issues, and what operators of HNS know.

// Report139519: a query that fails does not mean that the network, or what it would list, does not
// exist.
func TestReport139519FailedQueryIsNotAbsence(t *testing.T) {
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.1.1:80"), nil)
	for _, query := range []string{"Network", "ListEndpoints", "ListLoadBalancers"} {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprint(query, " restarts=", restarts), func(t *testing.T) {
				x := newFixture(t, l2bridge(), nil)
				x.sync(web)
				before := x.f.Describe()
				if restarts {
					x.restart(nil)
				} else {
					x.Node = testNode()
					x.Node.IPs = x.Node.IPs[:1] // lists everything again
				}
				x.fail(query, errors.New("HNS failed with error 0x6b5"))
				require.ErrorContains(t, x.Sync(t.Context(), sinktest.NewState(web)), "0x6b5")
				require.Equal(t, before, x.f.Describe())
				x.f.SetFaults(hnstest.Faults{})
				require.Empty(t, x.sync(web))
			})
		}
	}
	t.Run("a network that does not exist is an error too", func(t *testing.T) {
		x := newFixture(t, l2bridge(), func(cfg *hns.Config) { cfg.Network = "other" })
		require.ErrorIs(t, x.Sync(t.Context(), sinktest.NewState(web)), hns.ErrNotFound)
	})
}

// Report137530: a load balancer whose deletion fails keeps its frontend, so that no other one can
// be created for it. The backend repeats the deletion; the other Services do not wait.
func TestReport137530FailedDeletionKeepsTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture(t, l2bridge(), nil)
		old, next := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil), service("web", "10.96.0.1:80", endpoints("10.244.0.1:81"), nil)
		other := service("other", "10.96.0.2:80", endpoints("10.244.0.2:80"), nil)
		x.sync(old)
		x.fail("DeleteLoadBalancer", errInjected)
		require.Equal(t, []string{"CreateLoadBalancer TCP 10.96.0.2:80 -> 80 [10.244.0.2]"}, x.sync(next, other))
		require.Contains(t, x.notProgrammed(next), "injected")
		require.Empty(t, x.notProgrammed(other))
		require.Empty(t, x.sync(next, other), "still locked")
		<-x.b.ResyncRequested()
		x.f.SetFaults(hnstest.Faults{})
		require.Equal(t, []string{"DeleteLoadBalancer TCP 10.96.0.1:80", "CreateLoadBalancer TCP 10.96.0.1:80 -> 81 [10.244.0.1]"}, x.sync(next, other))
		require.Empty(t, x.b.NotProgrammed())

		x.fail("DeleteLoadBalancer", errInjected)
		require.Empty(t, x.sync(other), "of a Service that does not exist any more")
		x.f.SetFaults(hnstest.Faults{})
		require.Equal(t, []string{"DeleteLoadBalancer TCP 10.96.0.1:80"}, x.sync(other))
	})
}

// Report106936: HNS has no load balancer without endpoints, so it does not refuse connections. That
// is reported; the load balancer is not left with endpoints that do not exist.
func TestReport106936NoLoadBalancerWithoutEndpoints(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	full, empty := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil), service("web", "10.96.0.1:80", nil, nil)
	require.Empty(t, x.sync(empty))
	require.Contains(t, x.notProgrammed(empty), "connections are not refused")
	require.Len(t, x.sync(full), 1)
	require.Empty(t, x.b.NotProgrammed())
	require.Equal(t, []string{"DeleteLoadBalancer TCP 10.96.0.1:80"}, x.sync(empty))

	drops := service("web", "10.96.0.1:80", nil, func(p *localsink.Port) { p.Frontends[0].Routes[0].EmptyVerdict = localsink.VerdictDrop })
	require.Empty(t, x.sync(drops))
	require.Empty(t, x.b.NotProgrammed())
}

// Report113524: as many endpoints as before are not the same endpoints.
func TestReport113524EqualCountsAreNotEqualSets(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	x.sync(service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.2:80"), nil))
	swapped := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.3:80"), nil)
	require.Equal(t, []string{"ModifyLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.1 10.244.0.3]"}, x.sync(swapped))
	x.restart(nil)
	require.Empty(t, x.sync(swapped))
	x.restart(nil)
	require.Equal(t, []string{"ModifyLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.4 10.244.0.5]"},
		x.sync(service("web", "10.96.0.1:80", endpoints("10.244.0.4:80", "10.244.0.5:80"), nil)), "also against what was listed")
}

// Report141489: HNS lists load balancers without port mappings. They are left alone.
func TestReport141489LoadBalancerWithoutPortMappings(t *testing.T) {
	f := l2bridge()
	f.AddLoadBalancer(hns.LoadBalancer{FrontendVIPs: []string{"10.96.0.1"}})
	f.AddLoadBalancer(hns.LoadBalancer{})
	x := newFixture(t, f, nil)
	require.Equal(t, []string{"CreateLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.1]"}, x.sync(service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil)))
	require.Equal(t, []string{"DeleteLoadBalancer TCP 10.96.0.1:80"}, x.sync())
	require.NoError(t, hns.Cleanup(t.Context(), hns.Config{HNS: f, Network: "pods"}))
}

// Report109162: creating thousands of load balancers at the start is slow. Those that exist are
// adopted, whatever program created them; only the others are deleted.
func TestReport109162ExistingLoadBalancersAreAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture(t, l2bridge(), nil)
		all := make([]*localsink.Service, 2000)
		for i := range all {
			all[i] = service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d:80", i/250, i%250+1), endpoints("10.244.0.1:80", "10.244.1.1:80"), nil)
		}
		x.sync(all...)
		x.f.AddEndpoint(hns.Endpoint{IPConfigurations: []hns.IPConfig{{IPAddress: "10.244.9.9"}}, MACAddress: "02-11-0A-F4-09-09", Flags: hns.EndpointRemote})
		x.f.AddEndpoint(hns.Endpoint{IPConfigurations: []hns.IPConfig{{IPAddress: "10.244.9.8"}}, MACAddress: "0E-2A-0A-F4-09-08", Flags: hns.EndpointRemote})
		x.restart(nil)
		x.f.SetFaults(hnstest.Faults{Latency: func(hnstest.Call) time.Duration { return 20 * time.Millisecond }})
		began := time.Now()
		require.Equal(t, []string{
			"DeleteLoadBalancer TCP 10.96.7.250:80", "DeleteEndpoint remote 10.244.9.9 mac=02-11-0A-F4-09-09",
		}, x.sync(all[:1999]...), "the endpoint of another program stays")
		require.Equal(t, 5*20*time.Millisecond, time.Since(began), "three queries and two operations")
	})
}

// IDs change when HNS restarts: load balancers and endpoints may survive under other IDs, or not.
func TestRestartOfHNSChangesIDs(t *testing.T) {
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.1.1:80"), nil)
	more := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.2:80", "10.244.1.1:80"), nil)
	for _, forgets := range []bool{false, true} {
		for _, changes := range []bool{false, true} {
			t.Run(fmt.Sprint("forgets=", forgets, " changes=", changes), func(t *testing.T) {
				x := newFixture(t, l2bridge(), nil)
				x.sync(web)
				x.f.Restart(forgets)
				to := web
				if changes {
					to = more
				}
				writes := x.sync(to)
				x.requireLikeFirst(l2bridge(), to)
				if !forgets && !changes {
					require.Empty(t, writes, "adopted")
				}
			})
		}
	}
}

// A restart of HNS, and changes by other programs, are detected without an update.
func TestExternalChangesAreRepaired(t *testing.T) {
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.1.1:80"), nil)
	always := func(hns.LoadBalancer) bool { return true }
	for name, change := range map[string]func(f *hnstest.Fake){
		"restart": func(f *hnstest.Fake) { f.Restart(true) }, "restart that keeps all": func(f *hnstest.Fake) { f.Restart(false) },
		"load balancer deleted": func(f *hnstest.Fake) { f.RemoveLoadBalancers(always) },
		"load balancer added": func(f *hnstest.Fake) {
			f.AddLoadBalancer(hns.LoadBalancer{FrontendVIPs: []string{"10.96.0.9"}, PortMappings: []hns.PortMapping{{Protocol: 6, InternalPort: 1, ExternalPort: 1}}})
		},
		"second load balancer for a frontend": func(f *hnstest.Fake) {
			f.AddLoadBalancer(hns.LoadBalancer{FrontendVIPs: []string{"10.96.0.1"}, PortMappings: []hns.PortMapping{{Protocol: 6, InternalPort: 1, ExternalPort: 80}}})
		},
		"load balancer with several frontends": func(f *hnstest.Fake) {
			f.AddLoadBalancer(hns.LoadBalancer{
				FrontendVIPs: []string{"10.96.0.1", "10.96.0.9"}, PortMappings: []hns.PortMapping{{Protocol: 6, InternalPort: 1, ExternalPort: 2}},
			})
		},
		"flags changed": func(f *hnstest.Fake) {
			f.RemoveLoadBalancers(always)
			f.AddLoadBalancer(hns.LoadBalancer{FrontendVIPs: []string{"10.96.0.1"}, PortMappings: []hns.PortMapping{{Protocol: 6, InternalPort: 80, ExternalPort: 80, Flags: hns.MappingILB}}})
		},
		"pod replaced": func(f *hnstest.Fake) {
			f.RemoveEndpoint(netip.MustParseAddr("10.244.0.1"))
			f.AddLocalEndpoints(netip.MustParseAddr("10.244.0.1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newFixture(t, l2bridge(), func(cfg *hns.Config) { cfg.PollInterval = time.Minute })
				x.sync(web)
				time.Sleep(10 * time.Minute)
				select {
				case <-x.b.ResyncRequested():
					t.Fatal("resync without a change")
				default:
				}
				change(x.f)
				time.Sleep(61 * time.Second)
				<-x.b.ResyncRequested()
				require.False(t, x.b.DriftedSince().IsZero())
				x.sync(web)
				require.True(t, x.b.DriftedSince().IsZero())
				x.requireLikeFirst(l2bridge(), web)
				require.Empty(t, x.sync(web))
			})
		})
	}
}

// Calls are slow: any number of changes of a Service since the last Sync is one call, and the
// context ends a Sync. The next one continues, and repeats nothing.
func TestSlowCallsAreFewAndEndWithTheContext(t *testing.T) {
	for _, applies := range []bool{false, true} {
		t.Run(fmt.Sprint("interrupted call applies: ", applies), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newFixture(t, l2bridge(), nil)
				all := make([]*localsink.Service, 100)
				for i := range all {
					all[i] = service(fmt.Sprint("s", i), fmt.Sprintf("10.96.0.%d:80", i+1), endpoints("10.244.0.1:80"), nil)
				}
				x.f.SetFaults(hnstest.Faults{Latency: func(hnstest.Call) time.Duration { return 100 * time.Millisecond }, CancelApplies: applies})
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second+50*time.Millisecond)
				defer cancel()
				began := time.Now()
				require.ErrorIs(t, x.Sync(ctx, sinktest.NewState(all...)), context.DeadlineExceeded)
				require.Equal(t, 3050*time.Millisecond, time.Since(began))
				done := len(x.f.TakeWrites())
				require.InDelta(t, 27, done, 1)
				require.Len(t, x.sync(all...), 100-done)

				all[0] = service("s0", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:80"), nil)
				began = time.Now()
				require.Len(t, x.sync(all...), 1)
				require.Equal(t, 200*time.Millisecond, time.Since(began), "the query of the network and one operation")
			})
		})
	}
}

// A local and a remote endpoint with the same address exist after a pod has moved to this node;
// some versions of Windows create both. The local one is used, the other one deleted.
func TestLocalEndpointReplacesTheRemoteOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := l2bridge()
		x := newFixture(t, f, nil)
		remote := service("web", "10.96.0.1:80", endpoints("10.244.0.50:80", "10.244.0.1:80"), nil)
		remote.Ports[0].Pools[0].Endpoints[0].Local = false
		x.sync(remote)
		local := service("web", "10.96.0.1:80", endpoints("10.244.0.50:80", "10.244.0.1:80"), nil)
		require.Equal(t, []string{
			"ModifyLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.1]", "DeleteEndpoint remote 10.244.0.50 mac=02-11-0a-f4-00-32",
		}, x.sync(local), "the CNI plugin has not created it yet")
		require.Contains(t, x.notProgrammed(local), "10.244.0.50 does not exist")
		f.AddLocalEndpoints(netip.MustParseAddr("10.244.0.50"))
		f.AddEndpoint(hns.Endpoint{IPConfigurations: []hns.IPConfig{{IPAddress: "10.244.0.50"}}, MACAddress: "02-11-0A-F4-00-32", Flags: hns.EndpointRemote})
		<-x.b.ResyncRequested()
		require.Equal(t, []string{
			"ModifyLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.1 10.244.0.50]", "DeleteEndpoint remote 10.244.0.50 mac=02-11-0A-F4-00-32",
		}, x.sync(local))
		require.Empty(t, x.b.NotProgrammed())
	})
}

// Modification that is announced but not implemented is replaced by deletion and creation.
func TestModificationThatIsNotImplemented(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	x.sync(service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil))
	x.fail("ModifyLoadBalancer", hns.ErrNotImplemented)
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.2:80"), nil)
	require.Equal(t, []string{"DeleteLoadBalancer TCP 10.96.0.1:80", "CreateLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.1 10.244.0.2]"}, x.sync(web))
	x.f.SetFaults(hnstest.Faults{})
	require.Len(t, x.sync(service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil)), 2)
	require.Empty(t, x.b.NotProgrammed())
}

// If HNS returns a load balancer in another form than requested, it is not written again and again.
func TestOtherFormThanRequested(t *testing.T) {
	f := l2bridge()
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), with(frontend(localsink.KindLoadBalancer, "203.0.113.1:80", localsink.Route{})))
	b, err := hns.New(t.Context(), hns.Config{HNS: forgetfulHNS{f}, Network: "pods"})
	require.NoError(t, err)
	defer b.Close()
	d := sinktest.Driver{Sink: b, Node: testNode()}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web)))
	require.Len(t, f.TakeWrites(), 2)
	d.Node = testNode()
	d.Node.IPs = d.Node.IPs[:1] // lists everything again
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web)))
	require.Empty(t, f.TakeWrites())
}

// A forgetfulHNS returns no flags.
type forgetfulHNS struct{ *hnstest.Fake }

func (f forgetfulHNS) CreateLoadBalancer(ctx context.Context, lb *hns.LoadBalancer) (*hns.LoadBalancer, error) {
	created, err := f.Fake.CreateLoadBalancer(ctx, lb)
	if err == nil {
		forget(created)
	}
	return created, err
}

func (f forgetfulHNS) ListLoadBalancers(ctx context.Context) ([]hns.LoadBalancer, error) {
	list, err := f.Fake.ListLoadBalancers(ctx)
	for i := range list {
		forget(&list[i])
	}
	return list, err
}

func forget(lb *hns.LoadBalancer) { lb.Flags, lb.PortMappings[0].Flags = 0, 0 }

// If all calls fail, the cause is not one of the Services: Sync fails and ends early.
func TestManyRefusedOperationsEndSync(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	all := make([]*localsink.Service, 1000)
	for i := range all {
		all[i] = service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d:80", i/250, i%250+1), endpoints("10.244.0.1:80"), nil)
	}
	calls := 0
	x.f.SetFaults(hnstest.Faults{Fail: func(c hnstest.Call) error {
		if strings.HasPrefix(c.Name, "Create") {
			calls++
			return errInjected
		}
		return nil
	}})
	require.ErrorContains(t, x.Sync(t.Context(), sinktest.NewState(all...)), "more than 100 operations are refused")
	require.Equal(t, 101, calls)
	x.f.SetFaults(hnstest.Faults{})
	require.Len(t, x.sync(all...), 1000)
}

// TestFailuresAreCounted checks what Config.OnFailure receives.
func TestFailuresAreCounted(t *testing.T) {
	var failures []hns.Failure
	x := newFixture(t, l2bridge(), func(cfg *hns.Config) { cfg.OnFailure = func(f hns.Failure) { failures = append(failures, f) } })
	x.fail("CreateLoadBalancer", errInjected)
	web := service("web", "[fd00::1]:80", endpoints("[fd00:244::1]:80"), nil)
	x.sync(web)
	require.Len(t, failures, 1)
	require.Equal(t, hns.OperationCreate, failures[0].Operation)
	require.True(t, failures[0].IPv6)
	require.ErrorIs(t, failures[0].Err, errInjected)
}
