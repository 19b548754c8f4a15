// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/nodeagent"
	"sigs.k8s.io/kpng/nodeproxy/readiness"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// A controller beside a NodeService server.
func ExampleNew() {
	server, err := node.NewServer(watchers.NewStore(), node.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	controller, err := readiness.New(readiness.Config{
		Client:       fake.NewClientset(), // kubeclient.New in a program
		Server:       server,
		StartupTaint: "kpng.example/not-programmed",
		PodCondition: "kpng.example/programmed",
		Quantile:     0.95,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a program runs until SIGTERM
	fmt.Println(controller.Run(ctx))
	// Output: <nil>
}

// A fixedClient delivers one state. A program uses node.NewClient of package remote/node.
type fixedClient struct{ state *localsink.Update }

func (c fixedClient) Run(ctx context.Context, sink localsink.Sink) error {
	return sink.Sync(ctx, c.state)
}

// An agent removes the taint of its own node.
func ExampleTaint() {
	client := fake.NewClientset(&corev1.Node{ // kubeclient.New in a program
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "kpng.example/not-programmed", Effect: corev1.TaintEffectNoSchedule}}},
	})
	taint, err := readiness.NewTaint(readiness.TaintConfig{Client: client, NodeName: "node-1", Key: "kpng.example/not-programmed"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	err = nodeagent.Run(ctx, nodeagent.Config{
		Client:         fixedClient{sinktest.NewUpdate(&localsink.Node{Name: "node-1"}, nil, sinktest.NewState())},
		Rules:          localsink.Func(func(context.Context, *localsink.Update) error { return nil }),
		AfterFirstSync: taint.Applied,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := taint.Run(ctx); err != nil { // a program runs it beside the agent
		fmt.Println(err)
		return
	}
	object, _ := client.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
	fmt.Println("taints:", len(object.Spec.Taints))
	// Output: taints: 0
}
