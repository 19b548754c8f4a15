// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/kpng/test/netns"
)

// A process is a program under test, which may be killed and started again.
type process struct {
	*netns.Process // nil before the first start
	name           string
	program        string
	args           []string
	in             *netns.Namespace
	// metricsPort and healthPort are on 127.0.0.1; healthPort is 0 for servers.
	metricsPort, healthPort int
	// grpcPort is the port of a server at hubAddr; 0 for the others.
	grpcPort int
	// certified is the time of the newest certificate of a server.
	certified time.Time
}

// Ports of the servers and the relay, by name, on hubAddr. Metrics are at the next port of 127.0.0.1.
func serverPorts() map[string]int {
	return map[string]int{"server-a": 10270, "server-b": 10280, "relay": 10290}
}

// proxyName returns the name of the process that programs a node.
func proxyName(number int) string {
	if number == 1 {
		return "proxy-1"
	}
	return fmt.Sprintf("agent-%d", number)
}

// newProcesses returns all processes, in the order in which they start.
func newProcesses(f *fixture) (all []*process) {
	for _, name := range []string{"server-a", "server-b", "relay"} {
		port := serverPorts()[name]
		p := &process{name: name, program: f.kpng, in: f.hub, grpcPort: port, metricsPort: port + 1}
		address := fmt.Sprintf("%s:%d", hubAddr, port)
		from := []string{"--from=kube", "--kubeconfig=" + f.kubeconfig}
		if name == "relay" {
			from = append([]string{"--from=cluster:" + upstreams("server-a", "server-b")}, f.upstreamFlags("relay")...)
		}
		p.args = append([]string{"run", "--node-cidr", "--to=serve-node:" + address + ",serve-cluster:" + address,
			"--cert=" + f.file(name+".crt"), "--key=" + f.file(name+".key"), "--client-ca=" + f.caFile(),
			"--relays=relay", "--max-connection-age=20s", fmt.Sprintf("--metrics=127.0.0.1:%d", p.metricsPort)}, from...)
		all = append(all, p)
	}
	for _, m := range f.machines {
		p := &process{name: proxyName(m.number), program: f.kpng, in: m.Namespace, metricsPort: 10249, healthPort: 10256}
		servers := upstreams("server-a", "server-b")
		if m.number == nodes {
			servers = upstreams("relay")
		}
		p.args = append([]string{"run", "--from=node:" + servers, "--node=" + m.Name, "--to=nftables,conntrack,healthcheck",
			"--upstream-rebalance-interval=10s", "--health=127.0.0.1:10256", "--metrics=127.0.0.1:10249"}, f.upstreamFlags(m.Name)...)
		if m.number == 1 {
			p.program = f.kubeProxy
			p.args = []string{"--kubeconfig=" + f.kubeconfig, "--hostname-override=" + m.Name, "--proxy-mode=nftables",
				"--cluster-cidr=" + clusterCIDR, "--detect-local-mode=ClusterCIDR", "--healthz-bind-address=127.0.0.1:10256",
				"--metrics-bind-address=127.0.0.1:10249", "--conntrack-max-per-core=0", "--v=2"}
		}
		all = append(all, p)
	}
	return all
}

func upstreams(names ...string) string {
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf("%s:%d", hubAddr, serverPorts()[name]))
	}
	return strings.Join(all, ",")
}

func (f *fixture) upstreamFlags(client string) []string {
	return []string{"--upstream-ca=" + f.caFile(), "--upstream-cert=" + f.file(client+"-client.crt"), "--upstream-key=" + f.file(client+"-client.key")}
}

// start starts the process.
func (p *process) start(f *fixture) (err error) {
	p.Process, err = p.in.Run(netns.Program{Name: p.name, Path: p.program, Args: p.args, Dir: f.dir})
	return err
}

// get sends an HTTP request to the process.
func (p *process) get(ctx context.Context, port int, path string) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return p.in.DialContext(ctx, net.Dialer{}, network, addr)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of %s: %s: %s", path, p.name, response.Status, body)
	}
	return body, err
}

// healthy returns an error unless the proxy has programmed rules and reports no external change.
func (p *process) healthy(ctx context.Context) error {
	_, err := p.get(ctx, p.healthPort, "/healthz")
	return err
}

// metrics returns the values of metrics without labels.
func (p *process) metrics(ctx context.Context, names ...string) (map[string]float64, error) {
	body, err := p.get(ctx, p.metricsPort, "/metrics")
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		for _, name := range names {
			if text, found := strings.CutPrefix(line, name+" "); found {
				var value float64
				if _, err := fmt.Sscan(text, &value); err != nil {
					return nil, err
				}
				values[name] = value
			}
		}
	}
	if len(values) != len(names) {
		return nil, fmt.Errorf("metrics of %s: got %v, want %v", p.name, values, names)
	}
	return values, nil
}

func (f *fixture) file(name string) string { return filepath.Join(f.dir, name) }

func (f *fixture) process(name string) *process {
	for _, p := range f.processes {
		if p.name == name {
			return p
		}
	}
	panic("no process " + name) // a mistake in this package
}
