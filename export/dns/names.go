// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// specVersion is the version of the Kubernetes DNS specification, the text of dns-version.DOMAIN.
const specVersion = "1.1.0"

// An answer is the response to one question.
type answer struct {
	server *Server
	writer *writer
	kind   dnsmessage.Type

	cluster       watchers.Snapshot
	code          dnsmessage.RCode
	authoritative bool
}

// answer writes the records of a question, and sets code.
func (a *answer) answer(q *dnsmessage.Question) {
	a.cluster = a.server.store.Snapshot()
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	rest, inZone := cutSuffix(name, a.server.cfg.Domain)
	addr, isReverse := parseReverse(name)
	switch {
	case q.Class != dnsmessage.ClassINET && q.Class != dnsmessage.ClassANY, a.kind == typeAXFR, a.kind == typeIXFR:
		a.code = dnsmessage.RCodeRefused
	case !inZone && !isReverse:
		a.code = dnsmessage.RCodeRefused
	case !a.cluster.Synced():
		a.code = dnsmessage.RCodeServerFailure // clients ask another server
	case inZone:
		a.authoritative = true
		a.zone(rest)
		a.negative(a.server.domain)
	default:
		a.reverse(addr)
	}
}

const (
	typeIXFR = dnsmessage.Type(251)
	typeAXFR = dnsmessage.Type(252)
)

// cutSuffix returns name without a domain. ok is false if name is not in the domain.
func cutSuffix(name, domain string) (rest string, ok bool) {
	if name == domain {
		return "", true
	}
	rest, ok = strings.CutSuffix(name, domain)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, ".")
}

// cutLast returns name without its last label, and that label.
func cutLast(name string) (rest, label string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// has reports whether the question requests records of a type.
func (a *answer) has(kind dnsmessage.Type) bool {
	return a.kind == kind || a.kind == dnsmessage.TypeALL
}

func (a *answer) nxdomain() { a.code = dnsmessage.RCodeNameError }

// negative adds the SOA record of a zone if there is no answer.
func (a *answer) negative(zone []byte) {
	if a.writer.counts[sectionAnswer] == 0 && !a.writer.truncated {
		a.writer.recordNamed(sectionAuthority, zone, dnsmessage.TypeSOA, a.soa)
	}
}

// soa appends the data of the SOA record. Its serial number is the revision of the cluster state: there
// are no transfers that would compare it.
func (a *answer) soa(b []byte) []byte {
	const refresh, retry, expire = 7200, 1800, 86400
	b = appendName(b, "ns.dns", a.server.domain)
	b = appendName(b, "hostmaster", a.server.domain)
	for _, v := range []uint32{uint32(a.cluster.Revision()), refresh, retry, expire, a.writer.ttl} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// zone answers a name relative to the domain.
func (a *answer) zone(rest string) {
	rest, last := cutLast(rest)
	switch {
	case last == "":
		a.apex()
	case last == "svc":
		a.services(rest)
	case last == "pod" && a.server.cfg.PodRecords:
		a.pods(rest)
	case last == "dns-version" && rest == "":
		if a.has(dnsmessage.TypeTXT) {
			a.writer.record(dnsmessage.TypeTXT, func(b []byte) []byte { return append(append(b, byte(len(specVersion))), specVersion...) })
		}
	case last == "dns" && rest == "ns":
		a.addresses(a.server.cfg.NameserverIPs)
	case last == "dns" && rest == "": // ns.dns exists
	default:
		a.nxdomain()
	}
}

func (a *answer) apex() {
	if a.has(dnsmessage.TypeSOA) {
		a.writer.record(dnsmessage.TypeSOA, a.soa)
	}
	if a.has(dnsmessage.TypeNS) {
		a.writer.record(dnsmessage.TypeNS, func(b []byte) []byte { return appendName(b, "ns.dns", a.server.domain) })
	}
}

// pods answers a name below pod.DOMAIN.
func (a *answer) pods(rest string) {
	if rest == "" {
		return
	}
	rest, namespace := cutLast(rest)
	addr, err := parseDashed(rest)
	switch {
	case !a.namespaceExists(namespace):
		a.nxdomain()
	case rest == "":
	case err != nil:
		a.nxdomain()
	default:
		a.addresses([]netip.Addr{addr})
	}
}

// services answers a name below svc.DOMAIN.
func (a *answer) services(rest string) {
	if rest == "" {
		return
	}
	rest, namespace := cutLast(rest)
	if rest == "" {
		if !a.namespaceExists(namespace) {
			a.nxdomain()
		}
		return
	}
	rest, name := cutLast(rest)
	service := a.cluster.Service(watchers.ServiceName{Namespace: namespace, Name: name})
	switch {
	case service == nil:
		a.nxdomain()
	case isExternalName(service):
		a.externalName(service, rest)
	case isHeadless(service):
		a.headless(service, rest)
	default:
		a.clusterIP(service, rest)
	}
}

func isHeadless(s *watchers.Service) bool { return s.Details != nil && s.Details.Headless }

// namespaceExists reports whether a namespace has Services.
func (a *answer) namespaceExists(namespace string) bool {
	for key := range a.cluster.From(watchers.Key{Kind: watchers.KindService, Namespace: namespace}) {
		return key.Kind == watchers.KindService && key.Namespace == namespace
	}
	return false
}

// A below is a name below that of a Service: the port and protocol of _PORT._PROTOCOL, the protocol of
// _PROTOCOL, or a host.
type below struct {
	port, host string
	protocol   localsink.Protocol
	isProtocol bool
}

// parseBelow parses a name relative to a Service.
func parseBelow(rest string) (b below, ok bool) {
	rest, last := cutLast(rest)
	switch last {
	case "_tcp":
		b.protocol = localsink.ProtocolTCP
	case "_udp":
		b.protocol = localsink.ProtocolUDP
	case "_sctp":
		b.protocol = localsink.ProtocolSCTP
	default:
		b.host = last
		return b, rest == ""
	}
	b.isProtocol = true
	if rest == "" {
		return b, true
	}
	b.port, ok = strings.CutPrefix(rest, "_")
	return b, ok && b.port != "" && !strings.Contains(b.port, ".")
}

// parseDashed parses the host name of an endpoint without one: its address with dashes.
func parseDashed(label string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
		return addr, nil
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	if err == nil && addr.Is4In6() {
		return netip.Addr{}, errNoAddress
	}
	return addr, err
}

// dashed returns the host name of an endpoint without one.
func dashed(addr netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
}
