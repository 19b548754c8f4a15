// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kube-proxy is a drop-in replacement of kube-proxy, assembled from the
// packages of this module: an example of a complete distribution. It knows flags,
// files, signals and ports; what Services mean it does not know.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/examples/internal/modest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kube-proxy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o, log, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	switch {
	case o.version:
		fmt.Println(version())
		return nil
	case o.cleanup:
		return cleanup()
	}
	if len(o.ignored) > 0 {
		log.Info("These settings of kube-proxy have no effect here", "settings", strings.Join(o.ignored, ", "))
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	rules, err := nftables.New(nftables.Config{MasqueradeMark: o.masqueradeMark(), Logger: log})
	if err != nil {
		return err
	}
	defer rules.Close()
	flows, err := conntrack.New(conntrack.Config{Logger: log})
	if err != nil {
		return err
	}
	defer flows.Close()
	knobs("/proc/sys/net/netfilter").apply(&o.Conntrack, log)
	return proxy(ctx, o, client, rules, flows, log)
}

// proxy wires everything together and returns when ctx is done or nothing can go on.
func proxy(ctx context.Context, o *options, client kubernetes.Interface, rules, flows localsink.Sink, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	recorder, stopEvents := record(ctx, client)
	defer stopEvents()

	store := watchers.NewStore()
	watcher := kube.New(client, kube.Config{NodeName: o.HostnameOverride, Logger: log})
	eligible := func() bool { return eligible(store.Snapshot().Node(o.HostnameOverride)) }
	report := newReporter(log, recorder)
	measured := newMonitor(rules)
	health, err := healthcheck.NewProxy(measured, 2*o.NFTables.SyncPeriod.Duration)
	if err != nil {
		return err
	}
	checks, err := healthcheck.NewServices(healthcheck.Config{Healthy: health.Healthy, Logger: log})
	if err != nil {
		return err
	}
	defer checks.Close()
	loopback, err := localhost.New(localhost.Config{Logger: log})
	if err != nil {
		return err
	}
	defer loopback.Close()
	measured.watchLoopback(loopback.Stats)
	sink := newFaults(inOrder(report, health, checks, loopback, flows),
		recorder, func(n int) { measured.unserved.Set(float64(n)) })

	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	failed := make(chan error, 1)
	all.Go(func() { serve(ctx, o.HealthzBindAddress, healthHandler(health, measured, eligible), log) })
	explain := func(name localsink.ServiceName) (*nodelocal.Explanation, error) {
		return nodelocal.Explain(store.Snapshot(), o.nodelocal(log), name)
	}
	all.Go(func() { serve(ctx, o.MetricsBindAddress, metricsHandler(measured, sink, o, explain), log) })
	all.Go(func() {
		if err := watcher.Run(ctx, store); err != nil {
			failed <- err
			cancel()
		}
	})
	log.Info("Starting", "node", o.HostnameOverride, "mode", o.Mode, "version", version())
	recorder.Eventf(nodeReference(o.HostnameOverride), nil, corev1.EventTypeNormal, "Starting", "StartKubeProxy", "")
	if err := nodelocal.Follow(ctx, store, sink, o.nodelocal(log)); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// inOrder lets nothing run ahead of the rules: health checks, other listeners, and what
// cleans up behind.
func inOrder(report, rules, checks, loopback, flows localsink.Sink) localsink.Sink {
	return localsink.Chain(report, rules, checks, loopback, flows, predecessor{}, modest.NewSink())
}

// eligible says whether load balancers should send anything to a node.
func eligible(node *watchers.Node) bool { return node != nil && !node.Deleting }

// nodelocal translates the settings that say what Services mean here.
func (o *options) nodelocal(log *slog.Logger) nodelocal.Config {
	cfg := nodelocal.Config{
		NodeName:          o.HostnameOverride,
		NodePortAddresses: o.NodePortAddresses,
		MasqueradeAll:     o.NFTables.MasqueradeAll,
		MinInterval:       o.NFTables.MinSyncPeriod.Duration,
		MaxBackoff:        o.NFTables.SyncPeriod.Duration,
		Logger:            log,
	}
	cfg.NodeIP, _ = netip.ParseAddr(strings.Trim(o.BindAddress, "[]")) // parsed before
	switch o.DetectLocalMode {
	case "", "ClusterCIDR":
		cfg.LocalPods.ClusterCIDRs, _ = o.clusterCIDRs() // parsed before
	case "NodeCIDR":
		cfg.LocalPods.NodeCIDR = true
	case "BridgeInterface":
		cfg.LocalPods.Interface = o.DetectLocal.BridgeInterface
	case "InterfaceNamePrefix":
		cfg.LocalPods.InterfacePrefix = o.DetectLocal.InterfaceNamePrefix
	}
	return cfg
}

func (o *options) masqueradeMark() uint32 {
	if bit := o.NFTables.MasqueradeBit; bit != nil {
		return 1 << *bit
	}
	return 1 << 14
}

// client connects as kube-proxy does: by kubeconfig, or as the pod it runs in.
func (o *options) client() (kubernetes.Interface, error) {
	var cfg *rest.Config
	var err error
	if path := o.ClientConnection.Kubeconfig; path == "" && o.master == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags(o.master, path)
	}
	if err != nil {
		return nil, fmt.Errorf("no way to the API server: %w", err)
	}
	cfg.QPS, cfg.Burst = o.ClientConnection.QPS, int(o.ClientConnection.Burst)
	return kubernetes.NewForConfig(kube.Tuned(cfg))
}

// record returns a recorder of events, and what ends it.
func record(ctx context.Context, client kubernetes.Interface) (events.EventRecorder, func()) {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	broadcaster.StartRecordingToSink(ctx.Done())
	return broadcaster.NewRecorder(scheme.Scheme, "kube-proxy"), broadcaster.Shutdown
}

func nodeReference(name string) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name}
}

// leftBehind is the table of kube-proxy's own nftables mode.
const leftBehind = "kube-proxy"

// A predecessor is a sink that removes kube-proxy's own rules, once ours have taken
// over: in between, nobody is without Services.
type predecessor struct{}

// Sync implements localsink.Sink.
func (predecessor) Sync(_ context.Context, u *localsink.Update) error {
	if !u.NodeChanged {
		return nil
	}
	return nftables.Cleanup(leftBehind)
}

func cleanup() error {
	return errors.Join(nftables.Cleanup(""), nftables.Cleanup(leftBehind))
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
