// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"

	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/nodeproxy/clientmetrics"
	"sigs.k8s.io/kpng/nodeproxy/dataplane"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxy"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/nodeproxy/logging"
	"sigs.k8s.io/kpng/nodeproxy/pipeline"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
)

// newBackend returns the backend of the configured mode. Where that is not available, because the
// image has no iptables command for example, it is that of nftables with the settings that the
// modes have in common.
func newBackend(settings *kubeproxyconfig.Config, logger *slog.Logger) (*dataplane.Dataplane, error) {
	cfg := dataplane.Config{
		NFTables: settings.NFTables(logger), IPTables: settings.IPTables(logger), IPVS: settings.IPVS(logger),
		EBPF: ebpf.Config{RecentRewrites: settings.RecentRewrites(), Devices: settings.EBPFDevices()}, Logger: logger,
	}
	backend, err := dataplane.New(settings.Mode(), cfg)
	if errors.Is(err, dataplane.ErrUnavailable) && settings.Mode() != dataplane.ModeNFTables {
		logger.Warn("Proxy mode not available, using nftables", "mode", settings.Mode(), "err", err)
		return dataplane.New(dataplane.ModeNFTables, cfg)
	}
	return backend, err
}

// takeoverOf returns the takeover of a backend, or nil.
func takeoverOf(backend *dataplane.Dataplane) pipeline.Takeover {
	if backend.Takeover == nil {
		return nil
	}
	return backend.Takeover
}

// runProxy runs the proxy around the backend of the mode until ctx is done. A backend of your own
// is another sink here.
func runProxy(ctx context.Context, settings *kubeproxyconfig.Config, version string, log *logging.Log) (err error) {
	logger := log.Logger()
	setVerbosity, err := log.RedirectKlog()
	if err != nil {
		return err
	}
	collectors, err := clientmetrics.Register()
	if err != nil {
		return err
	}
	client, err := kubeclient.New(settings.Client())
	if err != nil {
		return err
	}
	backend, err := newBackend(settings, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	return kubeproxy.Run(ctx, kubeproxy.Config{
		Settings:            settings,
		Client:              client,
		Rules:               backend.Rules,
		Mode:                backend.Mode,
		Flows:               backend.Flows,
		NoLoopbackListeners: backend.NoLoopbackListeners,
		InterfaceAddrs:      backend.InterfaceAddrs,
		Takeover:            takeoverOf(backend),
		AfterFirstSync:      tuning.AfterFirstSync,
		Collectors:          append(collectors, backend.Collectors...),
		SetVerbosity:        setVerbosity,
		Version:             version,
		Logger:              logger,
	})
}
