// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// Tuned returns a copy of a client configuration that suits a [Watcher]: protobuf
// instead of JSON, which costs server and client a fraction, no compression, since the
// server would compress each event for each of its watchers, a user agent by which
// operators recognise it, and no client-side rate limit below that of a few
// reflectors starting together. What the configuration already says is kept, but
// for the content type when that is JSON. Where the network to the server is dear, set
// DisableCompression back.
func Tuned(config *rest.Config) *rest.Config {
	out := rest.CopyConfig(config)
	if out.ContentType == "" || out.ContentType == runtime.ContentTypeJSON {
		out.ContentType = runtime.ContentTypeProtobuf
		out.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	out.DisableCompression = true
	if out.UserAgent == "" {
		rest.AddUserAgent(out, "kpng")
	}
	if out.RateLimiter == nil && out.QPS == 0 {
		out.QPS, out.Burst = 20, 40
	}
	return out
}
