// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy_test

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kube-proxy/config/v1alpha1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxy"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
)

func ExampleRun() {
	settings, err := kubeproxyconfig.New(v1alpha1.KubeProxyConfiguration{
		HostnameOverride: "node-1", HealthzBindAddress: "127.0.0.1:20256", MetricsBindAddress: "127.0.0.1:20249",
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = kubeproxy.Run(ctx, kubeproxy.Config{
		Settings: settings,
		Client:   fake.NewClientset(), // a program uses kubeclient.New
		Rules: localsink.Func(func(_ context.Context, u *localsink.Update) error {
			fmt.Println("node", u.Node.Name, "has", u.All.Len(), "Services")
			return nil
		}),
		AfterFirstSync: cancel, // a program runs until SIGTERM
	})
	fmt.Println(err)
	// Output:
	// node node-1 has 0 Services
	// <nil>
}
