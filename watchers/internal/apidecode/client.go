// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1 "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
)

// Core returns a client for Services and Nodes that decodes with this package. It shares the
// connections, credentials and rate limit of the given one, asks for protobuf and accepts
// JSON. Of a fake clientset, it returns the client itself.
func Core(client kubernetes.Interface) (corev1.CoreV1Interface, error) {
	c := client.CoreV1()
	base, ok := c.RESTClient().(*rest.RESTClient)
	if !ok || base == nil {
		return c, nil
	}
	own, err := newClient(base)
	return corev1.New(own), err
}

// Discovery does the same for EndpointSlices.
func Discovery(client kubernetes.Interface) (discoveryv1.DiscoveryV1Interface, error) {
	c := client.DiscoveryV1()
	base, ok := c.RESTClient().(*rest.RESTClient)
	if !ok || base == nil {
		return c, nil
	}
	own, err := newClient(base)
	return discoveryv1.New(own), err
}

// newClient returns a client for the API group of base that differs in how it decodes.
func newClient(base *rest.RESTClient) (*rest.RESTClient, error) {
	version := base.APIVersion()
	address := base.Get().URL()
	path := address.Path
	address.Path = ""
	client, err := rest.NewRESTClient(address, path, rest.ClientContentConfig{
		ContentType:        runtime.ContentTypeProtobuf,
		AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		GroupVersion:       version,
		Negotiator:         runtime.NewClientNegotiator(NewSerializer(), version),
	}, base.GetRateLimiter(), base.Client)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", version, err)
	}
	return client, nil
}

// A serializer is that of client-go, except that this package decodes protobuf.
type serializer struct {
	runtime.NegotiatedSerializer

	mediaTypes []runtime.SerializerInfo
}

// NewSerializer returns the serializer of the clients of this package.
func NewSerializer() runtime.NegotiatedSerializer {
	s := serializer{NegotiatedSerializer: scheme.Codecs.WithoutConversion()}
	s.mediaTypes = slices.Clone(s.NegotiatedSerializer.SupportedMediaTypes())
	for i := range s.mediaTypes {
		if info := &s.mediaTypes[i]; info.MediaType == runtime.ContentTypeProtobuf {
			info.Serializer = decoder{info.Serializer}
			stream := *info.StreamSerializer
			stream.Serializer, stream.Framer = eventDecoder{stream.Serializer}, bufferedFramer{stream.Framer}
			info.StreamSerializer = &stream
		}
	}
	return s
}

// SupportedMediaTypes implements [runtime.NegotiatedSerializer].
func (s serializer) SupportedMediaTypes() []runtime.SerializerInfo { return s.mediaTypes }
