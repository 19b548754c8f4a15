// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/localsink"
)

func TestMain(m *testing.M) { os.Exit(backendtest.Main(m)) }

func TestConformance(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	report := backendtest.Run(t, backendtest.Backend{
		Name: "nft-script",
		New: func(context.Context, backendtest.Namespace) (localsink.Sink, error) {
			flows, err := conntrack.New(conntrack.Config{})
			return localsink.Chain(&scriptSink{table: "example"}, flows), err
		},
	})
	t.Log(report.Text())
	require.Equal(t, "session affinity, selection by least connections", report.Unsupported)
}
