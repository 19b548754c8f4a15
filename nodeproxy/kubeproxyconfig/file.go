// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// readFile reads a configuration file, without defaults. Like kube-proxy it accepts
// unknown and duplicate fields: lenient is then the error that a strict decoder returns.
func readFile(path string) (c *v1alpha1.KubeProxyConfiguration, content []byte, lenient, err error) {
	content, err = os.ReadFile(path)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err = decode(content, serializer.EnableStrict)
	if runtime.IsStrictDecodingError(err) {
		lenient = err
		c, err = decode(content, serializer.DisableStrict)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, content, lenient, nil
}

func decode(data []byte, strictness serializer.CodecFactoryOptionsMutator) (*v1alpha1.KubeProxyConfiguration, error) {
	codecs, err := newCodecs(strictness)
	if err != nil {
		return nil, err
	}
	obj, kind, err := codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	c, ok := obj.(*v1alpha1.KubeProxyConfiguration)
	if !ok {
		return nil, fmt.Errorf("unexpected kind %v", kind)
	}
	return c, nil
}

func newCodecs(strictness serializer.CodecFactoryOptionsMutator) (serializer.CodecFactory, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return serializer.CodecFactory{}, err
	}
	return serializer.NewCodecFactory(scheme, strictness), nil
}
