// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func ExampleFilter() {
	filter := kubeapi.Filter{ProxyName: "my-proxy"}
	fmt.Println("selector:", filter.ServiceLabels())

	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.10"},
	}
	fmt.Println("without label:", filter.Service(svc))
	svc.Labels = map[string]string{kubeapi.LabelProxyName: "my-proxy"}
	fmt.Println("with label:", filter.Service(svc))
	// Output:
	// selector: service.kubernetes.io/service-proxy-name=my-proxy
	// without label: false
	// with label: true
}

func ExampleService() {
	svc := kubeapi.Service(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			ClusterIP:   "10.96.0.010", // leading zeros, as in objects of old clusters
			ExternalIPs: []string{"192.0.2.1", "example.org"},
		},
	})
	fmt.Println(svc.Name, svc.ClusterIP, svc.ExternalIPs)
	for _, p := range svc.Problems {
		fmt.Println(p)
	}
	// Output:
	// default/web 10.96.0.10 [192.0.2.1]
	// Service default/web: spec.externalIPs[1]: "example.org" is not an IP address; ignored
}
