// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/examples/internal/cli"
)

// TestFlagsThatMakeNoSense: the error names flags, and nothing is passed over: a server
// that is told who its clients are does not serve everybody.
func TestFlagsThatMakeNoSense(t *testing.T) {
	parse := func(line string) error {
		var tier Tier
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		tier.Define(fs)
		return tier.Parse(fs, strings.Fields(line), io.Discard)
	}
	for line, want := range map[string]string{
		"-insecure -cert a -key b -client-ca c":        "-insecure and -cert",
		"-cert a -client-ca c":                         "one of -cert and -key without the other",
		"-key b":                                       "one of -cert and -key without the other",
		"-client-ca c":                                 "-client-ca without -cert",
		"-token-review":                                "-token-review without -cert",
		"-relays r":                                    "-relays without -cert",
		"-inspectors i -insecure":                      "-inspectors without -cert",
		"-agents a -cert a -key b -client-ca c":        "-agents without -token-review",
		"-token-review -cert a -key b -audiences ,":    "-token-review without -audiences",
		"-cert a -key b":                               "-cert without -client-ca or -token-review",
		"-node-cidr -cluster-cidr 10.0.0.0/8":          "-cluster-cidr and -node-cidr",
		"-cluster-cidr 10.0.0.0/8,11.0.0.0/8":          "-cluster-cidr: more than one IPv4 network",
		"-cluster-cidr ten":                            `-cluster-cidr: "ten" is not a network`,
		"-nodeport-addresses primary,eth0":             `-nodeport-addresses[1]: "eth0" is neither a network nor one of`,
		"-nodeport-addresses primary,primary":          `-nodeport-addresses[1]: "primary" is given twice`,
		"-relays r -inspectors i -cert a -insecure -v": "; -insecure and -cert; ",
	} {
		err := parse(line)
		require.ErrorIs(t, err, cli.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
		require.NotContains(t, err.Error(), "Config", line)
	}
	for _, line := range []string{
		"", "-insecure", "-node-cidr -nodeport-addresses localhost", "-cluster-cidr 10.0.0.0/8,fd00::/64",
		"-cert a -key b -client-ca c -relays r -inspectors i", "-cert a -key b -token-review -agents a",
	} {
		require.NoError(t, parse(line), line)
	}
}
