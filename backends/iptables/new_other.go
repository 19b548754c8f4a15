// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package iptables

import "errors"

var errNotSupported = errors.New("iptables: supported on Linux only")

// New returns an error: iptables exists on Linux only.
func New(Config) (*Backend, error) { return nil, errNotSupported }

// Cleanup returns an error: iptables exists on Linux only.
func Cleanup(Config) error { return errNotSupported }

// A watcher exists on Linux only.
type watcher struct{}

func (*watcher) beginWrite()          {}
func (*watcher) rememberWrite() error { return nil }
func (*watcher) close() error         { return nil }

func allowLoopback() error { return errNotSupported }
