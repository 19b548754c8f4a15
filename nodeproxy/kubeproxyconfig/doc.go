// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeproxyconfig translates kube-proxy's configuration file and flags into the
// Configs of this library. It is independent of the node and the API server:
// nothing takes effect before the caller uses the Configs.
//
//	flags.go, flagvalues.go  kube-proxy's flags                  -> Options
//	file.go                  KubeProxyConfiguration v1alpha1     -> Options.Load
//	defaults.go              kube-proxy's defaults
//	validate.go              errors that name the field
//	featuregates.go          the feature gates of Kubernetes
//	translate.go             Config: a valid configuration       -> nodelocal.Config, nftables.Config, ...
//	effective.go             Config: the whole configuration     -> /configz, --write-config-to
//	report.go                settings without effect, warnings   -> log
//	watch.go                 a change of the configuration file  -> ErrFileChanged
//
// The order of use is [Parse], [Options.Load], and the methods of [Config].
//
// It imports the types of kube-proxy's API, which compile Prometheus and cobra: no
// package outside of the drop-in's assembly imports this one.
package kubeproxyconfig
