// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// A sourceRanges is the content of a firewall chain: the networks of the allowed clients.
type sourceRanges struct {
	prefixes []netip.Prefix
	name     string // of the chain
}

// newSourceRanges derives the name of the chain from its content, so that frontends with
// equal source ranges share a chain.
func newSourceRanges(f *family, sources []netip.Prefix) sourceRanges {
	r := sourceRanges{prefixes: f.prefixes(sources)}
	h := sha256.New()
	for _, p := range r.prefixes {
		fmt.Fprintln(h, p)
	}
	r.name = prefixFirewall + hex.EncodeToString(h.Sum(nil)[:12])
	return r
}

func (r sourceRanges) rules(f *family) []rule {
	var rules []rule
	for _, p := range r.prefixes {
		rules = append(rules, within(f, f.saddrOffset, p, nfnl.CmpEq).then(verdict(nfnl.VerdictReturn, "")))
	}
	return append(rules, rule{verdict(nfnl.VerdictDrop, "")})
}
