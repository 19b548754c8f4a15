// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/netns"
)

// TestLaptop runs examples/laptop with a real API server, in a network namespace with a route to the pods
// and without privileges: local ports lead to pods, follow changes, and refuse when there are none.
func TestLaptop(t *testing.T) {
	fx := newFixture(t)
	paths, err := fx.binaries.Build(t.Context(), "sigs.k8s.io/kpng/examples/laptop")
	require.NoError(t, err)
	before := []service{plain("mapped", "pod1", "pod2")}
	fx.apply(t, nil, before)
	laptop, err := fx.Node.Namespace.Run(netns.Program{
		Name: "laptop", Path: "setpriv", Dir: fx.dir, Args: []string{
			"--bounding-set=-all", "--inh-caps=-all", paths[0], "-kubeconfig", fx.kubeconfig, "-namespace", namespace,
			"-map", namespace + "/mapped:tcp80=18080", "-map", namespace + "/mapped:udp80=18080",
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of laptop:\n%s", laptop.Tail(40))
		}
		require.NoError(t, laptop.Kill())
	})
	await := func(protocol string, want ...string) {
		t.Helper()
		missing := map[string]bool{}
		for _, w := range want {
			missing[w] = true
		}
		eventually(t, syncLimit, fmt.Sprintf("answers of %v at the local port, %s", want, protocol), func() error {
			answer := fx.Node.Probe(t.Context(), protocol, netip.MustParseAddrPort("127.0.0.1:18080"), time.Second)
			pod, _, _ := strings.Cut(answer.Server, ":")
			if delete(missing, pod); len(missing) > 0 {
				return fmt.Errorf("got %s, no answer of %v", answer.Server, missing)
			}
			return nil
		})
	}
	await("tcp", "pod1", "pod2")
	await("udp", "pod1", "pod2")

	after := []service{plain("mapped", "rpod1"), plain("unmapped", "pod1")}
	fx.apply(t, before, after)
	await("tcp", "rpod1")
	await("udp", "rpod1")
	eventually(t, syncLimit, "the new Service has a local port", func() error {
		if out := laptop.Tail(40); !strings.Contains(out, namespace+"/unmapped:tcp80 -> 127.0.0.1:") {
			return errors.New(out)
		}
		return nil
	})

	gone := []service{plain("mapped")}
	fx.apply(t, after, gone)
	await("tcp", "refused")
	fx.apply(t, gone, nil)
}
