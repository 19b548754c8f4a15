// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"context"
	"fmt"
	"log"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A mode is how a vendor's dataplane forwards packets to an endpoint.
type mode string

func parseMode(value string) (mode, error) {
	if value != "dsr" && value != "nat" {
		return "", fmt.Errorf("%q is not dsr or nat", value)
	}
	return mode(value), nil
}

// A vendorBackend programs a dataplane that has modes.
type vendorBackend struct {
	mode    *localsink.Accessor[mode]
	program func(service localsink.ServiceName, m mode)
}

func newVendorBackend(program func(localsink.ServiceName, mode)) *vendorBackend {
	return &vendorBackend{mode: localsink.NewAccessor("acme.example/mode", parseMode), program: program}
}

func (b *vendorBackend) Sync(_ context.Context, u *localsink.Update) error {
	for svc := range u.All.All() {
		b.program(svc.Name, b.mode.Or(svc.Extensions, "nat"))
	}
	return nil
}

// An annotation of a Service reaches the backend, which decodes it into a type of its own.
func ExampleConverter() {
	copyKeys, err := kubeapi.CopyKeys("acme.example/*")
	if err != nil {
		log.Fatal(err)
	}
	converter := kubeapi.Converter{Extend: copyKeys} // or kube.Config.Extend, or file.Config.Extend
	web, err := converter.Object(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{"acme.example/mode": "dsr"}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.10", Ports: []corev1.ServicePort{{Port: 80}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		tx.Set(web)
		tx.SetSynced()
	})

	ctx, cancel := context.WithCancel(context.Background())
	backend := newVendorBackend(func(service localsink.ServiceName, m mode) {
		fmt.Println(service, "uses mode", m)
		cancel()
	})
	if err := nodelocal.Follow(ctx, store, backend, nodelocal.Config{NodeName: "node-1"}); err != nil {
		log.Fatal(err)
	}
	// Output: default/web uses mode dsr
}

// extendService attaches the mode of a Service, and reports a mode that no dataplane has.
func extendService(object metav1.Object) (watchers.Extensions, []watchers.Problem) {
	const key = "acme.example/mode"
	value, found := object.GetAnnotations()[key]
	if _, ok := object.(*corev1.Service); !ok || !found {
		return watchers.Extensions{}, nil
	}
	if _, err := parseMode(value); err != nil {
		return watchers.Extensions{}, []watchers.Problem{{Field: "metadata.annotations[" + key + "]", Message: err.Error() + "; ignored"}}
	}
	return localsink.NewExtensions(localsink.Extension{Key: key, Value: value}), nil
}

// A function of the vendor reports an invalid annotation like the fields of the Service.
func ExampleExtend() {
	converter := kubeapi.Converter{Extend: extendService}
	object, err := converter.Object(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{"acme.example/mode": "fast"}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.10"},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range object.(*watchers.Service).Problems {
		fmt.Println(p)
	}
	// Output:
	// Service default/web: metadata.annotations[acme.example/mode]: "fast" is not dsr or nat; ignored
}

// A DNS server reads headless Services and the hostnames of their endpoints, which a proxy
// does not need and does not get.
func ExampleDetails() {
	headless := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone},
	}
	fmt.Println("proxy:", kubeapi.Filter{}.Service(headless))

	filter := kubeapi.Filter{Details: kubeapi.DetailHeadless | kubeapi.DetailHostname | kubeapi.DetailExternalName}
	object, err := filter.Object(headless)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("DNS server:", object.(*watchers.Service).Details.Headless)
	// Output:
	// proxy: false
	// DNS server: true
}
