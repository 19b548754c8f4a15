// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command watchonly watches Services, EndpointSlices and Nodes with client-go's reflectors,
// and forgets them at once: what a proxy that is built on them costs before it does anything.
// It says on its output when it has received everything.
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

// nowhere is a store that keeps nothing. It calls full whenever it has been filled.
type nowhere struct{ full func() }

func (nowhere) Add(any) error                 { return nil }
func (nowhere) Update(any) error              { return nil }
func (nowhere) Delete(any) error              { return nil }
func (n nowhere) Replace([]any, string) error { n.full(); return nil }
func (nowhere) Resync() error                 { return nil }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: watchonly KUBECONFIG")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
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
	runtime.GOMAXPROCS(1) // as our proxy
	var filling sync.WaitGroup
	watch := func(c rest.Interface, resource string, object apiruntime.Object) {
		source := cache.NewListWatchFromClient(c, resource, "", fields.Everything())
		filling.Add(1)
		r := cache.NewReflector(source, object, nowhere{sync.OnceFunc(filling.Done)}, 0)
		go r.RunWithContext(ctx)
	}
	watch(client.CoreV1().RESTClient(), "services", &corev1.Service{})
	watch(client.CoreV1().RESTClient(), "nodes", &corev1.Node{})
	watch(client.DiscoveryV1().RESTClient(), "endpointslices", &discoveryv1.EndpointSlice{})
	go func() {
		filling.Wait()
		fmt.Println("received everything")
	}()
	<-ctx.Done()
	return nil // the process ends, and all that it does
}
