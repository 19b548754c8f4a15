// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient_test

import (
	"fmt"

	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
)

func ExampleNew() {
	client, err := kubeclient.New(kubeclient.Config{Master: "https://192.0.2.1:6443"})
	fmt.Println(client != nil, err)
	_, err = kubeclient.New(kubeclient.Config{Kubeconfig: "/no/such/file"})
	fmt.Println(err)
	// Output:
	// true <nil>
	// API server configuration: stat /no/such/file: no such file or directory
}
