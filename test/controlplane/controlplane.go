// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real etcd and a real kube-apiserver for tests; it
// knows nothing of proxies and nodes.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/kpng/test/netns"
)

// The networks of ClusterIPs.
const (
	ServiceCIDR4 = "10.96.0.0/12"
	ServiceCIDR6 = "fd00:96::/108"
)

// Options say where a control plane runs.
type Options struct {
	// Dir holds all its files, logs included. Required.
	Dir string
	// Addr is the address that the API server listens on. Required.
	Addr netip.Addr
	// Namespace is where it runs, with its loopback interface up. Required; it
	// stays the caller's.
	Namespace *netns.Namespace
	// Etcd and APIServer are the paths of the programs. Required.
	Etcd, APIServer string
}

// A ControlPlane is an etcd and an API server that uses it.
type ControlPlane struct {
	options   Options
	authority *authority
	etcdPort  int
	peerPort  int
	apiPort   int
	// Etcd and APIServer are the processes, nil before their first start.
	Etcd, APIServer *netns.Process
}

// Start starts both and returns when the API server is ready. What it returns is
// to be closed; when it returns an error nothing is left running.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	c := &ControlPlane{options: o}
	err := c.prepare(ctx)
	if err == nil {
		err = c.StartEtcd()
	}
	if err == nil {
		err = c.StartAPIServer(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close kills both; the files stay.
func (c *ControlPlane) Close() error {
	var errs []error
	for _, p := range []*netns.Process{c.APIServer, c.Etcd} {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(errs...)
}

// Addr is where the API server listens.
func (c *ControlPlane) Addr() netip.AddrPort {
	return netip.AddrPortFrom(c.options.Addr, uint16(c.apiPort))
}

func (c *ControlPlane) file(name string) string { return filepath.Join(c.options.Dir, name) }

// prepare chooses ports and writes keys.
func (c *ControlPlane) prepare(ctx context.Context) error {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	ports, err := freePorts(ctx, c.options.Namespace, loopback, loopback, c.options.Addr)
	if err != nil {
		return err
	}
	c.etcdPort, c.peerPort, c.apiPort = ports[0], ports[1], ports[2]
	if c.authority, err = newAuthority(); err != nil {
		return err
	}
	if err := os.WriteFile(c.file("ca.crt"), c.authority.pem, 0o600); err != nil {
		return err
	}
	// The key that signs service account tokens needs no certificate.
	_, key, err := c.authority.client("service accounts")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.file("sa.key"), key, 0o600); err != nil {
		return err
	}
	return c.authority.server(c.file("apiserver.crt"), c.file("apiserver.key"), c.options.Addr)
}

// freePorts returns one free TCP port for each address. All are open at once
// while they are chosen, so no two are equal.
func freePorts(ctx context.Context, ns *netns.Namespace, addrs ...netip.Addr) ([]int, error) {
	var ports []int
	for _, addr := range addrs {
		l, err := ns.Listen(ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// StartEtcd starts etcd on the data that an earlier one left, if any.
func (c *ControlPlane) StartEtcd() (err error) {
	client := fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.peerPort)
	c.Etcd, err = c.options.Namespace.Run(netns.Program{
		Name: "etcd", Path: c.options.Etcd, Dir: c.options.Dir,
		Args: []string{
			"--name=test", "--data-dir=" + c.file("etcd"),
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=test=" + peer,
			"--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=8589934592",
			"--auto-compaction-mode=revision", "--auto-compaction-retention=50000",
		},
	})
	return err
}

// StartAPIServer starts the API server, at the address it had before, and returns
// when it is ready.
func (c *ControlPlane) StartAPIServer(ctx context.Context) (err error) {
	c.APIServer, err = c.options.Namespace.Run(netns.Program{
		Name: "kube-apiserver", Path: c.options.APIServer, Dir: c.options.Dir,
		Args: []string{
			fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.etcdPort),
			"--bind-address=" + c.options.Addr.String(), "--advertise-address=" + c.options.Addr.String(),
			"--secure-port=" + strconv.Itoa(c.apiPort),
			"--tls-cert-file=" + c.file("apiserver.crt"), "--tls-private-key-file=" + c.file("apiserver.key"),
			"--client-ca-file=" + c.file("ca.crt"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + c.file("sa.key"), "--service-account-signing-key-file=" + c.file("sa.key"),
			"--service-cluster-ip-range=" + ServiceCIDR4 + "," + ServiceCIDR6,
			"--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
			"--endpoint-reconciler-type=none", "--event-ttl=10m",
		},
	})
	if err != nil {
		return err
	}
	return c.waitReady(ctx)
}

func (c *ControlPlane) waitReady(ctx context.Context) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			return nil
		}
		if exited := errors.Join(c.Etcd.Exited(), c.APIServer.Exited()); exited != nil {
			return exited
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready: %w: %s: %s", err, body, c.APIServer.Tail(20))
		}
	}
}

// config returns a configuration with the rights of a cluster administrator.
func (c *ControlPlane) config() (*clientcmdapi.Config, error) {
	cert, key, err := c.authority.client("admin", "system:masters")
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{
		Server:                   "https://" + c.Addr().String(),
		CertificateAuthorityData: c.authority.pem,
	}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	config.CurrentContext = "test"
	return config, nil
}

// WriteKubeconfig writes a kubeconfig file for an administrator and returns its
// path.
func (c *ControlPlane) WriteKubeconfig() (string, error) {
	config, err := c.config()
	if err != nil {
		return "", err
	}
	return c.file("kubeconfig"), clientcmd.WriteToFile(*config, c.file("kubeconfig"))
}

// Client returns a client for an administrator, without a limit of its rate. It
// dials from the namespace of the control plane, so it works from anywhere.
func (c *ControlPlane) Client() (kubernetes.Interface, error) {
	file, err := c.config()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.NewDefaultClientConfig(*file, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.Timeout = 30 * time.Second
	config.WarningHandler = rest.NoWarnings{}
	config.ContentConfig = rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"}
	config.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.options.Namespace.DialContext(ctx, net.Dialer{}, network, addr)
	}
	return kubernetes.NewForConfig(config)
}
