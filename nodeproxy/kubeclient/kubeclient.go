// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeclient connects to an API server as kube-proxy does. It is independent
// of the objects of the API.
package kubeclient

import (
	"fmt"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"sigs.k8s.io/kpng/watchers/kube"
)

// A Config locates an API server. The zero value is that of the pod in which the program
// runs.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file.
	Kubeconfig string
	// Context is the name of a context of the kubeconfig file; "" is the current one.
	Context string
	// UserFiles makes an empty Kubeconfig stand for the files that kubectl reads: those in the
	// variable KUBECONFIG, or ~/.kube/config. Without such a file, it is the pod's.
	UserFiles bool
	// Master is the URL of the API server; it overrides that of the kubeconfig file.
	Master string
	// QPS and Burst limit the requests per second of the client; 0 means the limits of
	// [kube.Tuned].
	QPS   float32
	Burst int
	// ContentType and AcceptContentTypes are the media types of requests and answers; ""
	// means those of [kube.Tuned].
	ContentType, AcceptContentTypes string
}

// New returns a client that is tuned for a [kube.Watcher]. It connects when it is used.
func New(cfg Config) (kubernetes.Interface, error) {
	restConfig, err := cfg.tuned()
	if err != nil {
		return nil, err
	}
	if cfg.ContentType != "" && cfg.ContentType != restConfig.ContentType {
		restConfig.ContentType, restConfig.AcceptContentTypes = cfg.ContentType, cfg.ContentType
	}
	if cfg.AcceptContentTypes != "" {
		restConfig.AcceptContentTypes = cfg.AcceptContentTypes
	}
	return kubernetes.NewForConfig(restConfig)
}

// NewDynamic returns a client of resources without Go types. They are transferred as JSON,
// whatever the content types of cfg are.
func NewDynamic(cfg Config) (dynamic.Interface, error) {
	restConfig, err := cfg.tuned()
	if err != nil {
		return nil, err
	}
	return dynamic.NewForConfig(restConfig)
}

func (cfg Config) tuned() (*rest.Config, error) {
	restConfig, err := cfg.rest()
	if err != nil {
		return nil, fmt.Errorf("API server configuration: %w", err)
	}
	restConfig.QPS, restConfig.Burst = cfg.QPS, cfg.Burst
	return kube.Tuned(restConfig), nil
}

func (cfg Config) rest() (*rest.Config, error) {
	if cfg.UserFiles || cfg.Context != "" {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = cfg.Kubeconfig
		overrides := &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}
		overrides.ClusterInfo.Server = cfg.Master
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	}
	if cfg.Kubeconfig == "" && cfg.Master == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags(cfg.Master, cfg.Kubeconfig)
}
