// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeproxyconfig translates kube-proxy's configuration file and flags into the
// Configs of this library. It is independent of the node and the API server:
// nothing takes effect before the caller uses the Configs.
//
//	flags.go       kube-proxy's flags                        -> Options
//	file.go        KubeProxyConfiguration v1alpha1           -> Configuration
//	validate.go    defaults, and errors that name the field
//	translate.go   Config: a valid configuration             -> nodelocal.Config, nftables.Config, ...
//
// The order of use is [Parse], [Options.Load], and the methods of [Config].
package kubeproxyconfig
