// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

func TestTuned(t *testing.T) {
	in := &rest.Config{Host: "h"}
	out := Tuned(in)
	require.Equal(t, rest.Config{Host: "h"}, *in, "the argument is not modified")
	require.Equal(t, "application/vnd.kubernetes.protobuf", out.ContentType)
	require.Equal(t, "application/vnd.kubernetes.protobuf,application/json", out.AcceptContentTypes)
	require.Greater(t, out.QPS, float32(rest.DefaultQPS))
	require.True(t, out.DisableCompression)

	kept := Tuned(&rest.Config{UserAgent: "mine", QPS: 1, Burst: 2, ContentConfig: rest.ContentConfig{ContentType: "application/cbor"}})
	require.Equal(t, "mine", kept.UserAgent)
	require.Equal(t, "application/cbor", kept.ContentType)
	require.Equal(t, float32(1), kept.QPS)
}
