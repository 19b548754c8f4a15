// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIN84LoopbackNodePorts: node ports are served on the loopback address of a family only
// if a loopback network of that family is listed.
func TestIN84LoopbackNodePorts(t *testing.T) {
	for _, row := range []struct {
		entries []string
		want    []string
	}{
		{nil, nil},
		{[]string{"primary"}, nil},
		{[]string{"all"}, nil},
		{[]string{"0.0.0.0/0", "::/0"}, nil},
		{[]string{"localhost"}, []string{"127.0.0.1", "::1"}},
		{[]string{"primary", "localhost"}, []string{"127.0.0.1", "::1"}},
		{[]string{"all", "localhost"}, []string{"127.0.0.1", "::1"}},
		{[]string{"127.0.0.0/8"}, []string{"127.0.0.1"}},
		{[]string{"0.0.0.0/0", "127.0.0.1/32"}, []string{"127.0.0.1"}},
		{[]string{"::1/128", "10.0.0.0/8"}, []string{"::1"}},
		{[]string{"126.0.0.0/7"}, nil},
	} {
		np, err := parseNodePorts(row.entries)
		require.NoError(t, err)
		var got []string
		for _, a := range np.loopback() {
			got = append(got, a.String())
		}
		require.Equal(t, row.want, got, "%q", row.entries)
	}
}
