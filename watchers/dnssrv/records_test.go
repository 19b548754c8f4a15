// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// parseRecord parses a line of a zone file.
func parseRecord(t *testing.T, line string) dnsmessage.Resource {
	t.Helper()
	var name, recordType string
	var ttl uint32
	_, err := fmt.Sscan(line, &name, &ttl, &recordType)
	require.NoError(t, err, line)
	data := strings.Fields(line)[3:]
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}}
	switch recordType {
	case "SRV":
		var srv dnsmessage.SRVResource
		_, err := fmt.Sscan(strings.Join(data[:3], " "), &srv.Priority, &srv.Weight, &srv.Port)
		require.NoError(t, err, line)
		srv.Target = dnsmessage.MustNewName(data[3])
		r.Header.Type, r.Body = dnsmessage.TypeSRV, &srv
	case "A":
		r.Header.Type, r.Body = dnsmessage.TypeA, &dnsmessage.AResource{A: netip.MustParseAddr(data[0]).As4()}
	case "AAAA":
		r.Header.Type, r.Body = dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(data[0]).As16()}
	case "CNAME":
		r.Header.Type, r.Body = dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(data[0])}
	case "SOA":
		soa := &dnsmessage.SOAResource{NS: r.Header.Name, MBox: r.Header.Name}
		_, err := fmt.Sscan(data[0], &soa.MinTTL)
		require.NoError(t, err, line)
		r.Header.Type, r.Body = dnsmessage.TypeSOA, soa
	default:
		require.Fail(t, "type of record", line)
	}
	return r
}
