// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig_test

import (
	"fmt"

	"github.com/spf13/pflag"

	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
)

func ExampleParse() {
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	options, err := kubeproxyconfig.Parse(fs, []string{"--hostname-override=node-1", "--cluster-cidr=10.244.0.0/16", "--ipvs-strict-arp"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg, err := options.Load()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.NodeName(), cfg.Mode(), cfg.HealthzAddress())
	fmt.Println(cfg.Nodelocal(nil).LocalPods.ClusterCIDRs)
	fmt.Println("no effect:", cfg.Ignored())
	// Output:
	// node-1 nftables 0.0.0.0:10256
	// [10.244.0.0/16]
	// no effect: [ipvs.strictARP=true]
}
