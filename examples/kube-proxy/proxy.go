// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/backendmetrics"
	"sigs.k8s.io/kpng/nodeproxy/clientmetrics"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxy"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/nodeproxy/logging"
	"sigs.k8s.io/kpng/nodeproxy/takeover"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
)

// runProxy runs the proxy around the nftables backend until ctx is done. A backend of your own is
// another sink here.
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
	rules, err := nftables.New(settings.NFTables(logger))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rules.Close()) }()
	flowMetrics, observeFlows := backendmetrics.NewConntrack()
	flows, err := conntrack.New(conntrack.Config{OnReconcile: observeFlows, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flows.Close()) }()
	return kubeproxy.Run(ctx, kubeproxy.Config{
		Settings:       settings,
		Client:         client,
		Rules:          rules,
		Flows:          flows,
		Takeover:       takeover.New(logger),
		AfterFirstSync: tuning.AfterFirstSync,
		Collectors:     append(append(collectors, flowMetrics), backendmetrics.NewNFTables(rules)...),
		SetVerbosity:   setVerbosity,
		Version:        version,
		Logger:         logger,
	})
}
