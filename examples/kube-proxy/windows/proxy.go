// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"

	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/nodeproxy/clientmetrics"
	"sigs.k8s.io/kpng/nodeproxy/dataplane"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxy"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/nodeproxy/logging"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A host is what the program uses of the node and the cluster.
type host struct {
	// open returns the HNS, and the function that frees it.
	open func() (hns.HNS, func() error, error)
	// client is that of the API server; nil means that of the settings.
	client kubernetes.Interface
}

// networkVariable names the network if no flag and no file does, as in kube-proxy.
const networkVariable = "KUBE_NETWORK"

// hnsConfig returns the configuration of the backend with the HNS of h.
func hnsConfig(settings *kubeproxyconfig.Config, h host, logger *slog.Logger) (hns.Config, func() error, error) {
	cfg := settings.HNS(logger)
	cfg.Network = cmp.Or(cfg.Network, os.Getenv(networkVariable))
	if cfg.Network == "" {
		return cfg, nil, errors.New("winkernel.networkName (--network-name, " + networkVariable + "): required")
	}
	service, closeHNS, err := h.open()
	cfg.HNS = service
	return cfg, closeHNS, err
}

// cleanup removes load balancers and remote endpoints.
func cleanup(ctx context.Context, settings *kubeproxyconfig.Config, h host, logger *slog.Logger) error {
	cfg, closeHNS, err := hnsConfig(settings, h, logger)
	if err != nil {
		return err
	}
	return errors.Join(hns.Cleanup(ctx, cfg), closeHNS())
}

// newBackend returns the backend of Windows. A node without HNS gets the userspace proxy, which serves
// node ports, and other addresses of Services that are addresses of the node.
func newBackend(settings *kubeproxyconfig.Config, h host, logger *slog.Logger) (*dataplane.Dataplane, func() error, error) {
	cfg, closeHNS, err := hnsConfig(settings, h, logger)
	if errors.Is(err, errors.ErrUnsupported) {
		logger.Warn("Proxy mode not available, using userspace", "mode", settings.Mode(), "err", err)
		backend, err := dataplane.New(dataplane.ModeUserspace, dataplane.Config{Logger: logger})
		if err == nil {
			backend.Takeover = nil // there are no rules of Linux to remove
		}
		return backend, func() error { return nil }, err
	}
	if err != nil {
		return nil, nil, err
	}
	backend, err := dataplane.New(dataplane.ModeKernelspace, dataplane.Config{HNS: cfg, Logger: logger})
	if err != nil {
		return nil, nil, errors.Join(err, closeHNS())
	}
	return backend, closeHNS, nil
}

// runProxy runs the proxy until ctx is done.
func runProxy(ctx context.Context, settings *kubeproxyconfig.Config, h host, version string, log *logging.Log) (err error) {
	logger := log.Logger()
	setVerbosity, err := log.RedirectKlog()
	if err != nil {
		return err
	}
	collectors, err := clientmetrics.Register()
	if err != nil {
		return err
	}
	client := h.client
	if client == nil {
		if client, err = kubeclient.New(settings.Client()); err != nil {
			return err
		}
	}
	backend, closeHNS, err := newBackend(settings, h, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close(), closeHNS()) }()
	extend, err := kubeapi.CopyKeys(hns.PreserveDestination)
	if err != nil {
		return err
	}
	return kubeproxy.Run(ctx, kubeproxy.Config{
		Settings:            settings,
		Client:              client,
		Rules:               backend.Rules,
		Mode:                backend.Mode,
		Extend:              extend,
		NoLoopbackListeners: backend.NoLoopbackListeners,
		AfterFirstSync:      tuning.AfterFirstSync,
		Collectors:          append(collectors, backend.Collectors...),
		SetVerbosity:        setVerbosity,
		Version:             version,
		Logger:              logger,
	})
}
