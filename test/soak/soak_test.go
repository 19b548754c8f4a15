// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/test/controlplane"
)

// Settings of the test.
const (
	envDuration = "KPNG_SOAK_DURATION" // the test is skipped without it
	envSeed     = "KPNG_SOAK_SEED"     // default: from the time
	envRounds   = "KPNG_SOAK_ROUNDS"   // ends after so many rounds instead, to replay a failure
)

const (
	// startLimit is the maximum time for all processes to start.
	startLimit = 2 * time.Minute
	// operationLimit is the maximum time of an operation.
	operationLimit = 2 * time.Minute
)

// A fixture is everything that runs, outside of the test's own process too.
type fixture struct {
	*network
	control         *controlplane.ControlPlane
	client          kubernetes.Interface
	kubeconfig, dir string
	kpng, kubeProxy string // programs
	processes       []*process
	authorities     authorities
	traffic         *traffic
	resources       resources
	repairs         []time.Duration
}

// TestSoak changes objects and disturbs processes for as long as KPNG_SOAK_DURATION.
func TestSoak(t *testing.T) {
	text := os.Getenv(envDuration)
	if text == "" {
		t.Skip("runs for long: set " + envDuration)
	}
	duration, err := time.ParseDuration(text)
	require.NoError(t, err, envDuration)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(envSeed); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, envSeed)
	}
	rounds := 0
	if text := os.Getenv(envRounds); text != "" {
		rounds, err = strconv.Atoi(text)
		require.NoError(t, err, envRounds)
	}
	t.Logf("seed %d; to replay: make soak SEED=%d DURATION=%s", seed, seed, text)
	f := newFixture(t)
	f.start(t)
	g := newGenerator(seed)
	begin := time.Now()
	for more := true; more; more = rounds == 0 && time.Since(begin) < duration || g.rounds < rounds {
		if err := f.round(t, g); err != nil {
			f.explain(t)
			t.Fatalf("round %d after %v: %v\nto replay: make soak SEED=%d ROUNDS=%d", g.rounds, time.Since(begin).Round(time.Second), err, seed, g.rounds)
		}
	}
	f.traffic.Close()
	t.Logf("%d rounds; %s; authority replaced %d times; repairs took %v", g.rounds, f.traffic.summary(), f.authorities.rotations, f.repairs)
	t.Log(f.resources.String())
	require.NoError(t, f.resources.flat(), "seed %d", seed)
}

// round runs the operations of a round, and waits for the quiet point.
func (f *fixture) round(t *testing.T, g *generator) error {
	operations := g.round()
	begin := time.Now()
	var faults []string
	for _, o := range operations {
		if !strings.HasPrefix(o.text, "put ") && !strings.HasPrefix(o.text, "delete ") {
			faults = append(faults, o.text[:min(len(o.text), 60)])
		}
		if err := f.logOperation(g.rounds, o); err != nil {
			return err
		}
		if err := f.execute(t.Context(), o); err != nil {
			return fmt.Errorf("%s: %w", o.text, err)
		}
	}
	changed := time.Now()
	if err := f.quiet(t.Context()); err != nil {
		return err
	}
	t.Logf("round %d: %d operations in %v, quiet after %v: %s", g.rounds, len(operations), changed.Sub(begin).Round(time.Millisecond),
		time.Since(changed).Round(time.Millisecond), strings.Join(faults, "; "))
	return nil
}

// logOperation appends an operation to the file operations.log.
func (f *fixture) logOperation(round int, o operation) error {
	file, err := os.OpenFile(f.file("operations.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintf(file, "%s round %d: %s\n", time.Now().Format(timeFormat), round, o.text)
	return err
}

// execute runs an operation, again after errors that the restart of the API server causes.
func (f *fixture) execute(ctx context.Context, o operation) error {
	ctx, cancel := context.WithTimeout(ctx, operationLimit)
	defer cancel()
	for {
		err := o.run(ctx, f)
		if err == nil || !transient(err) || pause(ctx, 20*time.Millisecond) != nil {
			return err
		}
	}
}

// transient reports whether an operation with this error may succeed later.
func transient(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		apierrors.IsInvalid(err) && strings.Contains(err.Error(), "already allocated")
}

func newFixture(t *testing.T) *fixture {
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
	f := &fixture{}
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	programs, err := binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage, controlplane.KPNGProxyPackage, controlplane.KPNGPackage)
	require.NoError(t, err)
	f.kubeProxy, f.kpng = programs[2], programs[3]
	f.dir, err = os.MkdirTemp("", "kpng-soak-") //nolint:usetesting // the logs stay after a failure
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs of all processes, and operations.log: %s", f.dir)
			return
		}
		require.NoError(t, os.RemoveAll(f.dir))
	})
	f.authorities.signs, err = controlplane.NewAuthority()
	require.NoError(t, err)
	f.network, err = newNetwork(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	f.control, err = controlplane.Start(ctx, controlplane.Config{
		Dir: f.dir, Addr: netip.MustParseAddr(hubAddr), Namespace: f.hub, Etcd: programs[0], APIServer: programs[1],
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.control.Close()) })
	f.kubeconfig, err = f.control.WriteKubeconfig()
	require.NoError(t, err)
	f.client, err = f.control.Client()
	require.NoError(t, err)
	return f
}

// start creates the objects that stay, starts all processes and then traffic.
func (f *fixture) start(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	for _, name := range []string{churnNamespace, stableNamespace} {
		_, err := f.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for _, m := range f.machines {
		require.NoError(t, f.createNode(ctx, m.Name, fmt.Sprintf(`[%q, %q]`, podAddr(m.number, 0, true)+"/24", podAddr(m.number, 0, false)+"/64")))
		require.NoError(t, newGenerator(0).patchAddresses(m.number)(ctx, f))
		require.NoError(t, f.createStable(ctx, m.number))
	}
	f.processes = newProcesses(f)
	require.NoError(t, f.writeTrusted())
	require.NoError(t, f.writeCertificates())
	for _, p := range f.processes {
		require.NoError(t, p.start(f))
		t.Cleanup(func() { require.NoError(t, p.Kill()) })
	}
	var err error
	f.traffic, err = startServers(t.Context(), f.network)
	require.NoError(t, err)
	t.Cleanup(f.traffic.Close)
	if err := f.quiet(t.Context()); err != nil {
		f.explain(t)
		t.Fatalf("before the first round: %v", err)
	}
	f.traffic.startClients(t.Context(), f.network)
}

// stableNamespace has the Services that no operation changes.
const stableNamespace = "stable"

// createStable creates a Service that traffic uses, with the serving pods of all nodes. The last one has session affinity.
func (f *fixture) createStable(ctx context.Context, number int) error {
	addrs := stableAddrs(number)
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: stableNamespace, Name: fmt.Sprintf("stable-%d", number)},
		Spec:       corev1.ServiceSpec{ClusterIP: addrs[0], ClusterIPs: addrs, Ports: []corev1.ServicePort{{Name: "p", Port: 80}}},
	}
	setFamilies(&s.Spec, bothFamilies)
	if number == nodes {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	if err := f.putService(ctx, s); err != nil {
		return err
	}
	port, name := int32(servingPort), "p"
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		endpoints := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: stableNamespace, Name: s.Name + "-" + strings.ToLower(string(family)),
				Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
			},
			AddressType: family, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		}
		for _, m := range f.machines {
			endpoints.Endpoints = append(endpoints.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{podAddr(m.number, servingPod, family == discoveryv1.AddressTypeIPv4)}, NodeName: &m.Name,
			})
		}
		if err := f.putSlice(ctx, endpoints); err != nil {
			return err
		}
	}
	return nil
}

// explain logs the end of the logs of all processes.
func (f *fixture) explain(t *testing.T) {
	for _, p := range f.processes {
		t.Logf("log of %s:\n%s", p.name, p.Tail(8))
	}
}
