// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// A Store writes objects as the API server stores them, into its etcd. The API server serves them like
// others, but has neither validated nor completed them. It is for large clusters: for each Service that
// the API server creates itself, it counts the addresses of all.
type Store struct {
	control *ControlPlane
	client  *http.Client
}

// OpenStore returns a store. The caller must close it before the control plane.
func (c *ControlPlane) OpenStore() *Store { return &Store{control: c, client: c.etcdClient()} }

// Close closes the connections to etcd.
func (s *Store) Close() { s.client.CloseIdleConnections() }

// Put stores objects, all of them or, with an error, maybe none. It replaces those that exist. It may
// be called concurrently.
func (s *Store) Put(ctx context.Context, objects ...runtime.Object) error {
	type put struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
	type operation struct {
		RequestPut put `json:"requestPut"`
	}
	var operations []operation
	for _, o := range objects {
		key, version, err := storedAs(o)
		if err != nil {
			return err
		}
		encoder := scheme.Codecs.EncoderForVersion(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), version)
		value, err := runtime.Encode(encoder, o)
		if err != nil {
			return fmt.Errorf("store %s: %w", key, err)
		}
		operations = append(operations, operation{put{[]byte(key), value}})
	}
	request, err := json.Marshal(map[string]any{"success": operations})
	if err != nil {
		return err
	}
	return s.control.etcd(ctx, s.client, "/v3/kv/txn", string(request), &struct{}{})
}

// storedAs returns the key and the version of an object in etcd.
func storedAs(o runtime.Object) (key string, v schema.GroupVersion, err error) {
	switch o := o.(type) {
	case *corev1.Service:
		return "/registry/services/specs/" + o.Namespace + "/" + o.Name, corev1.SchemeGroupVersion, nil
	case *networkingv1.IPAddress:
		return "/registry/ipaddresses/" + o.Name, networkingv1.SchemeGroupVersion, nil
	}
	return "", v, fmt.Errorf("store: the key of a %T is unknown", o)
}
