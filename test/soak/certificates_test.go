// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"sigs.k8s.io/kpng/test/controlplane"
)

const (
	// certificateLimit is the maximum time until a process uses a new certificate or a new
	// authority. It reads the files each minute.
	certificateLimit = 75 * time.Second
	// connectionLimit is the maximum time until a client connects again, which it does with its
	// newest certificate. The servers limit the age of connections to 20 seconds.
	connectionLimit = 30 * time.Second
)

// Authorities sign the certificates of servers and clients. The API server has one of its own.
//
// The authority is replaced in three steps, as an operator does it, so that no connection is refused:
// the next one is trusted beside it; certificates are replaced; it is no longer trusted.
type authorities struct {
	signs *controlplane.Authority
	next  *controlplane.Authority // trusted too, before it signs
	last  *controlplane.Authority // trusted too, after it signed
	// due is the earliest time of the next step.
	due time.Time
	// rotations is the number of authorities that are no longer trusted.
	rotations int
}

// step does the next step, and returns whether certificates must be written.
func (a *authorities) step(now time.Time) (write bool, err error) {
	switch {
	case now.Before(a.due):
	case a.next != nil:
		a.signs, a.last, a.next = a.next, a.signs, nil
		a.due = now.Add(certificateLimit + connectionLimit)
		return true, nil
	case a.last != nil:
		a.last = nil
		a.due = now.Add(certificateLimit)
		a.rotations++
	default:
		a.next, err = controlplane.NewAuthority()
		a.due = now.Add(certificateLimit)
	}
	return false, err
}

// trusted returns the certificates of all authorities that are trusted.
func (a *authorities) trusted() (pem []byte) {
	for _, authority := range []*controlplane.Authority{a.signs, a.next, a.last} {
		if authority != nil {
			pem = slices.Concat(pem, authority.PEM())
		}
	}
	return pem
}

// rotateAuthority does the next step in replacing the authority, if it is due.
func (f *fixture) rotateAuthority() error {
	write, err := f.authorities.step(time.Now())
	if err != nil {
		return err
	}
	if err := f.writeTrusted(); err != nil || !write {
		return err
	}
	return f.writeCertificates()
}

func (f *fixture) caFile() string { return f.file("grpc-ca.crt") }

// writeTrusted replaces the file of the authorities that servers and clients trust.
func (f *fixture) writeTrusted() error {
	return errors.Join(os.WriteFile(f.caFile()+".new", f.authorities.trusted(), 0o600), os.Rename(f.caFile()+".new", f.caFile()))
}

// writeCertificates writes the certificates of all servers and clients.
func (f *fixture) writeCertificates() error {
	errs := []error{f.writeClientCertificate("relay")}
	for _, m := range f.machines {
		errs = append(errs, f.writeClientCertificate(m.Name))
	}
	for _, p := range f.processes {
		if p.grpcPort != 0 {
			errs = append(errs, p.writeCertificate(f))
		}
	}
	return errors.Join(errs...)
}

// writeClientCertificate replaces the certificate and the key of the relay or of the agent of a
// node, one after the other. A client reads them when it connects, at the latest after 20 seconds.
func (f *fixture) writeClientCertificate(client string) error {
	cert, key := f.file(client+"-client.crt"), f.file(client+"-client.key")
	identity := []string{"system:node:" + client, "system:nodes"}
	if client == "relay" {
		identity = []string{"relay"}
	}
	err := f.authorities.signs.WriteClientCertificate(cert+".new", key+".new", identity[0], identity[1:]...)
	return errors.Join(err, os.Rename(cert+".new", cert), os.Rename(key+".new", key))
}

// writeCertificate replaces the certificate and the key of a server, one after the other.
func (p *process) writeCertificate(f *fixture) error {
	cert, key := f.file(p.name+".crt"), f.file(p.name+".key")
	p.certified = time.Now()
	err := f.authorities.signs.WriteServerCertificate(cert+".new", key+".new", netip.MustParseAddr(hubAddr))
	return errors.Join(err, os.Rename(cert+".new", cert), os.Rename(key+".new", key))
}

// servesNewestCertificate returns an error if a server has another certificate than its file.
func (p *process) servesNewestCertificate(ctx context.Context, f *fixture) error {
	data, err := os.ReadFile(f.file(p.name + ".crt"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	want, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	conn, err := p.in.DialContext(ctx, net.Dialer{}, "tcp", fmt.Sprintf("%s:%d", hubAddr, p.grpcPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := client.HandshakeContext(ctx); err != nil {
		return err
	}
	if got := client.ConnectionState().PeerCertificates[0]; !got.Equal(want) {
		return fmt.Errorf("%s serves certificate %v, the file has %v", p.name, got.SerialNumber, want.SerialNumber)
	}
	return nil
}
