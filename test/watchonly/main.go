// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command watchonly watches Services, EndpointSlices and Nodes with reflectors of client-go
// and discards the objects. It measures the minimum CPU time of a proxy that uses reflectors.
// It prints "all lists received" when it has received the first list of each resource.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// A discardStore keeps no objects. It calls listed after each list.
type discardStore struct{ listed func() }

func (discardStore) Add(any) error                 { return nil }
func (discardStore) Update(any) error              { return nil }
func (discardStore) Delete(any) error              { return nil }
func (s discardStore) Replace([]any, string) error { s.listed(); return nil }
func (discardStore) Resync() error                 { return nil }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: watchonly KUBECONFIG")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.ContentType, config.DisableCompression = apiruntime.ContentTypeProtobuf, true
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(1) // like examples/kube-proxy
	var listing sync.WaitGroup
	watch := func(c rest.Interface, resource string, object apiruntime.Object) {
		listWatch := cache.NewListWatchFromClient(c, resource, "", fields.Everything())
		listing.Add(1)
		r := cache.NewReflector(listWatch, object, discardStore{sync.OnceFunc(listing.Done)}, 0)
		go r.RunWithContext(ctx)
	}
	watch(client.CoreV1().RESTClient(), "services", &corev1.Service{})
	watch(client.CoreV1().RESTClient(), "nodes", &corev1.Node{})
	watch(client.DiscoveryV1().RESTClient(), "endpointslices", &discoveryv1.EndpointSlice{})
	go func() {
		listing.Wait()
		fmt.Println("all lists received")
	}()
	<-ctx.Done()
	return nil // the reflectors end with the process
}
