// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnscli_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/export/dns/dnscli"
	"sigs.k8s.io/kpng/nodeproxy/cli"
	"sigs.k8s.io/kpng/nodeproxy/command"
)

// TestRun answers for the manifests of a command line; headless Services need no flag.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stderr buffer
	done := make(chan error, 1)
	go func() {
		done <- cli.Standard().With(dnscli.Sink()).Run(ctx, []string{
			"kpng", "run", "--from", "file:../testdata/cluster.yaml", "--to", "dns:127.0.0.1:0,listen=127.0.0.1:0,domain=example.org,ttl=7s,pods,ns=10.96.0.53",
		}, io.Discard, &stderr)
	}()
	var addresses []string
	require.Eventually(t, func() bool {
		addresses = nil
		for line := range strings.Lines(stderr.String()) {
			if _, address, ok := strings.Cut(strings.TrimSpace(line), "address="); ok {
				addresses = append(addresses, address)
			}
		}
		return len(addresses) == 2
	}, 30*time.Second, 5*time.Millisecond, stderr.String())
	for _, address := range addresses {
		for name, want := range map[string]string{
			"db-0.db.data.svc.example.org.": "10.244.1.7", "elsewhere.default.svc.example.org.": "10.96.0.12",
			"10-1-2-3.default.pod.example.org.": "10.1.2.3", "ns.dns.example.org.": "10.96.0.53",
		} {
			require.Eventually(t, func() bool {
				q := new(client.Msg)
				q.SetQuestion(name, client.TypeA)
				response, _, err := (&client.Client{}).Exchange(q, address)
				return err == nil && len(response.Answer) == 1 && response.Answer[0].(*client.A).A.Equal(net.ParseIP(want)) && response.Answer[0].Header().Ttl == 7
			}, 30*time.Second, 5*time.Millisecond, name)
		}
	}
	cancel()
	require.NoError(t, <-done)
}

func TestInvalidArgument(t *testing.T) {
	for argument, want := range map[string]string{
		"127.0.0.1:0,colour":        `option "colour": "colour" is not one of listen, domain`,
		"127.0.0.1:0,ttl=x":         `option "ttl=x"`,
		"127.0.0.1:0,ns=x":          `option "ns=x"`,
		"127.0.0.1:0,max-udp=x":     `option "max-udp=x"`,
		"127.0.0.1:0,max-udp=1":     "dns: MaxUDP: 1 is out of range",
		"127.0.0.1:0,domain=a..b":   `dns: Domain: "a..b"`,
		"127.0.0.1":                 `dns: listen at "127.0.0.1"`,
		"127.0.0.1:0,listen=x":      `dns: listen at "x"`,
		"127.0.0.1:0,ttl=1500ms,ns": `option "ns"`,
	} {
		err := cli.Standard().With(dnscli.Sink()).Run(t.Context(), []string{
			"kpng", "run", "--from", "file:../testdata/cluster.yaml", "--to", "dns:" + argument,
		}, io.Discard, io.Discard)
		require.ErrorContains(t, err, want)
		require.Equal(t, !strings.Contains(want, "listen at"), errors.Is(err, command.ErrUsage), argument)
	}
}

type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
