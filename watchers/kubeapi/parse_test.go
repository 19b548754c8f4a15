// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", " 10.0.0.1\t": "10.0.0.1", "172.30.0.041": "172.30.0.41", "010.180.00.001": "10.180.0.1",
		"000.0000.0.9": "0.0.0.9", "::ffff:10.0.0.1": "10.0.0.1", "::ffff:010.0.0.08": "10.0.0.8", "2001:DB8::1": "2001:db8::1",
		"::ffff:a00:1": "10.0.0.1",
		"":             "", "10.0.0": "", "10.0.0.256": "", "fe80::1%eth0": "", "None": "", "1.2.3.-4": "", "1..2.3": "", "::ffff:1.2.3": "",
	} {
		t.Run("IN-33 "+in, func(t *testing.T) {
			a, ok := kubeapi.ParseAddr(in)
			require.Equal(t, want != "", ok)
			if ok {
				require.Equal(t, want, a.String())
			}
		})
	}
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "203.0.113.000/025": "203.0.113.0/25", "10.1.2.3/16": "10.1.0.0/16", " 0.0.0.0/0 ": "0.0.0.0/0",
		"::ffff:10.1.2.3/104": "10.0.0.0/8", "2001:db8::1/32": "2001:db8::/32", "::/0": "::/0", "10.0.0.0/00": "0.0.0.0/0",
		"::ffff:10.1.2.3/24": "", "10.0.0.0": "", "10.0.0.0/33": "", "10.0.0.0/-1": "", "10.0.0.0/": "", "10.0.0.0 /8": "", "/8": "", "": "",
	} {
		t.Run("IN-33 "+in, func(t *testing.T) {
			p, ok := kubeapi.ParsePrefix(in)
			require.Equal(t, want != "", ok)
			if ok {
				require.Equal(t, want, p.String())
			}
		})
	}
}
