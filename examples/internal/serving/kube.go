// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"sigs.k8s.io/kpng/watchers/kube"
)

// Kubernetes returns a client of the API server: by kubeconfig, or, when that is empty,
// as the pod that this runs in.
func Kubernetes(kubeconfig string) (kubernetes.Interface, error) {
	cfg, err := rest.InClusterConfig()
	if kubeconfig != "" {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("no way to the API server: %w", err)
	}
	return kubernetes.NewForConfig(kube.Tuned(cfg))
}
