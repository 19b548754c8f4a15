// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sinktest helps whoever writes or drives a localsink.Sink: laws that every
// sink obeys ([TestSink]), a recording fake that checks its driver ([Recorder]), and
// a reference reading of the contract ([Trace]) that says where a packet must go. It
// knows no kernel and no Kubernetes.
package sinktest
