// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"

	"golang.org/x/net/dns/dnsmessage"
)

// serveDNS answers queries at an address over UDP until the result is closed: each name has the SRV
// record of 10.244.1.4:8080, whose address is in the additional section.
func serveDNS(ctx context.Context, address string) (net.PacketConn, error) {
	packets, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	go func() {
		buffer := make([]byte, 1<<12)
		for {
			n, client, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := answerDNS(buffer[:n]); answer != nil {
				_, _ = packets.WriteTo(answer, client)
			}
		}
	}()
	return packets, nil
}

// answerDNS returns the answer to a query, or nil.
func answerDNS(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	target := dnsmessage.MustNewName("a.node.consul.")
	record := func(name dnsmessage.Name, body dnsmessage.ResourceBody) []dnsmessage.Resource {
		return []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 1}, Body: body}}
	}
	m.Response, m.Answers, m.Additionals = true, nil, nil
	if m.Questions[0].Type == dnsmessage.TypeSRV {
		m.Answers = record(m.Questions[0].Name, &dnsmessage.SRVResource{Weight: 1, Port: 8080, Target: target})
		m.Additionals = record(target, &dnsmessage.AResource{A: [4]byte{10, 244, 1, 4}})
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}
