// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func ExampleService() {
	fact := kubeapi.Service(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			ClusterIP:   "10.96.0.010", // old objects have such addresses
			ExternalIPs: []string{"192.0.2.1", "example.org"},
		},
	})
	fmt.Println(fact.Name, fact.ClusterIP, fact.ExternalIPs)
	for _, p := range fact.Problems {
		fmt.Println(p)
	}
	// Output:
	// default/web 10.96.0.10 [192.0.2.1]
	// Service default/web: spec.externalIPs[1]: "example.org" is not an IP address; ignored
}
