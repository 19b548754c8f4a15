// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

// manifests returns a Service with a port and its endpoints, which are all on this machine.
func manifests(servers ...net.Listener) string {
	text := `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80}]
`
	for i, s := range servers {
		text += fmt.Sprintf(`---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-%d
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
ports: [{name: http, port: %d}]
endpoints: [{addresses: [%s]}]
`, i, s.Addr().(*net.TCPAddr).Port, localAddress())
	}
	return text
}

// localAddress is an address of this machine that may be the address of an endpoint: one of
// 127.0.0.0/8 may not.
func localAddress() string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	return ""
}

// serve starts a server that sends a name.
func serve(t *testing.T, name string) net.Listener {
	ln, err := net.Listen("tcp4", localAddress()+":0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln
}

// TestFollowsManifests: the table and the connections follow the endpoints; the local port
// stays.
func TestFollowsManifests(t *testing.T) {
	if localAddress() == "" {
		t.Skip("needs an IPv4 address beside 127.0.0.1")
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a, b := serve(t, "a"), serve(t, "b")
	dir := t.TempDir()
	write := func(text string) {
		next := filepath.Join(dir, "next")
		require.NoError(t, os.WriteFile(next, []byte(text), 0o600))
		require.NoError(t, os.Rename(next, filepath.Join(dir, "web.yaml")))
	}
	write(manifests(a))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	read, out := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-f", dir}, out, io.Discard)
		out.Close()
		result <- err
	}()
	lines := bufio.NewScanner(read)
	expect := func(pattern string) []string {
		t.Helper()
		for lines.Scan() {
			if m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(lines.Text()); m != nil {
				return m
			}
		}
		t.Fatalf("no line %s", pattern)
		return nil
	}
	local := expect(`default/web:http -> (127\.0\.0\.1:\d+) \(1 endpoint\)`)[1]
	require.Equal(t, "a", answer(t, local))
	write(manifests(a, b))
	expect(`default/web:http -> ` + regexp.QuoteMeta(local) + ` \(2 endpoints\)`)
	seen := map[string]bool{}
	for range 40 {
		seen[answer(t, local)] = true
	}
	require.Len(t, seen, 2)
	write(manifests())
	expect(`default/web:http -> ` + regexp.QuoteMeta(local) + ` \(0 endpoints\)`)
	write(manifests(b))
	expect(`default/web:http -> ` + regexp.QuoteMeta(local) + ` \(1 endpoint\)`)
	require.Equal(t, "b", answer(t, local))
	cancel()
	require.NoError(t, <-result)
}

func answer(t *testing.T, address string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer c.Close()
	text, err := io.ReadAll(c)
	require.NoError(t, err)
	return string(text)
}

// TestArguments: invalid arguments are refused with their name and value.
func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "one of -kubeconfig and -f is required",
		"-kubeconfig a -f b":       "exclude one another",
		"-f a -map default/web=80": "want NAMESPACE/NAME:PORT=LOCALPORT",
		"-f a -map web:http=80":    "want NAMESPACE/NAME:PORT=LOCALPORT",
		"-f a -map n/web:http=0":   `local port "0" out of range 1-65535`,
		"-f a -map n/web:http=1 -map n/web:http=2": "n/web:http: mapped twice",
		"-f a extra": `unexpected argument "extra"`,
	} {
		_, err := parse(strings.Fields(args), io.Discard)
		require.ErrorContains(t, err, want, args)
		require.ErrorIs(t, err, command.ErrUsage, args)
	}
	o, err := parse(strings.Fields("-f a -map n/web:http=8080 -map n/web:443=8443 -address 127.0.0.2"), io.Discard)
	require.NoError(t, err)
	require.Equal(t, portMap{"n/web:http": 8080, "n/web:443": 8443}, o.ports)
	require.Equal(t, "127.0.0.2", o.address.String())
}
