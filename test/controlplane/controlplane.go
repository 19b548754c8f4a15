// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real etcd and a real kube-apiserver for tests. It starts no
// proxies and creates no nodes.
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

// The networks of cluster IPs.
const (
	ServiceCIDR4 = "10.96.0.0/12"
	ServiceCIDR6 = "fd00:96::/108"
)

// auditPolicy records user, verb and object of each request, without the content.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}`

// Config configures a [ControlPlane]. All fields but Audit are required.
type Config struct {
	// Dir is the directory for all files, including logs.
	Dir string
	// Addr is the listen address of the API server.
	Addr netip.Addr
	// Namespace is the namespace of the processes. Its loopback interface must be up. The
	// caller closes it.
	Namespace *netns.Namespace
	// Etcd and APIServer are the paths of the programs.
	Etcd, APIServer string
	// Audit makes the API server write one line of JSON for each request to the file
	// [ControlPlane.AuditLog].
	Audit bool
}

// A ControlPlane is an etcd process and an API server that uses it.
type ControlPlane struct {
	cfg       Config
	authority *Authority
	etcdPort  int
	peerPort  int
	apiPort   int
	// Etcd and APIServer are the processes; nil before the first start.
	Etcd, APIServer *netns.Process
}

// Start starts both processes and returns when the API server is ready. The caller must
// close the result. With an error, no process is left.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	c := &ControlPlane{cfg: cfg}
	err := c.prepare(ctx)
	if err == nil {
		err = c.StartEtcd()
	}
	if err == nil {
		err = c.StartAPIServer(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close()) //nolint:contextcheck // ctx may have ended, and no process may be left
	}
	return c, nil
}

// Close kills both processes. It does not delete their files.
func (c *ControlPlane) Close() error {
	var errs []error
	for _, p := range []*netns.Process{c.APIServer, c.Etcd} {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(errs...)
}

// Addr returns the address and port of the API server.
func (c *ControlPlane) Addr() netip.AddrPort {
	return netip.AddrPortFrom(c.cfg.Addr, uint16(c.apiPort))
}

// AuditLog returns the path of the audit log. The file may not exist before the first request.
func (c *ControlPlane) AuditLog() string { return c.file("audit.log") }

func (c *ControlPlane) file(name string) string { return filepath.Join(c.cfg.Dir, name) }

// prepare chooses ports and writes certificates and keys.
func (c *ControlPlane) prepare(ctx context.Context) error {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	ports, err := freePorts(ctx, c.cfg.Namespace, loopback, loopback, c.cfg.Addr)
	if err != nil {
		return err
	}
	c.etcdPort, c.peerPort, c.apiPort = ports[0], ports[1], ports[2]
	if c.authority, err = NewAuthority(); err != nil {
		return err
	}
	if err := os.WriteFile(c.file("ca.crt"), c.authority.pem, 0o600); err != nil {
		return err
	}
	// Only the key is used: it signs service account tokens.
	_, key, err := c.authority.client("service accounts")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.file("sa.key"), key, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(c.file("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	return c.authority.WriteServerCertificate(c.file("apiserver.crt"), c.file("apiserver.key"), c.cfg.Addr)
}

// freePorts returns one free TCP port for each address. It opens all of them at the same
// time, so no two are equal.
func freePorts(ctx context.Context, ns *netns.Namespace, addrs ...netip.Addr) ([]int, error) {
	var ports []int
	for _, addr := range addrs {
		l, err := ns.Listen(ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
		if err != nil {
			return nil, err
		}
		defer l.Close()
		bound, err := netip.ParseAddrPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, int(bound.Port()))
	}
	return ports, nil
}

// StartEtcd starts etcd with the data of the previous process, if there was one.
func (c *ControlPlane) StartEtcd() (err error) {
	client := fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.peerPort)
	c.Etcd, err = c.cfg.Namespace.Run(netns.Program{
		Name: "etcd", Path: c.cfg.Etcd, Dir: c.cfg.Dir,
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

// StartAPIServer starts the API server, always with the same address and port, and returns
// when it is ready.
func (c *ControlPlane) StartAPIServer(ctx context.Context) (err error) {
	var audit []string
	if c.cfg.Audit {
		audit = []string{"--audit-policy-file=" + c.file("audit-policy.yaml"), "--audit-log-path=" + c.AuditLog()}
	}
	c.APIServer, err = c.cfg.Namespace.Run(netns.Program{
		Name: "kube-apiserver", Path: c.cfg.APIServer, Dir: c.cfg.Dir,
		Args: append([]string{
			fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.etcdPort),
			"--bind-address=" + c.cfg.Addr.String(), "--advertise-address=" + c.cfg.Addr.String(),
			"--secure-port=" + strconv.Itoa(c.apiPort),
			"--tls-cert-file=" + c.file("apiserver.crt"), "--tls-private-key-file=" + c.file("apiserver.key"),
			"--client-ca-file=" + c.file("ca.crt"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + c.file("sa.key"), "--service-account-signing-key-file=" + c.file("sa.key"),
			"--service-cluster-ip-range=" + ServiceCIDR4 + "," + ServiceCIDR6,
			"--authorization-mode=RBAC", "--allow-privileged", "--disable-admission-plugins=ServiceAccount",
			"--endpoint-reconciler-type=none", "--event-ttl=10m",
		}, audit...),
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
			return fmt.Errorf("wait for kube-apiserver to be ready: %w: /readyz: %s: log: %s", err, body, c.APIServer.Tail(20))
		}
	}
}

// config returns a client configuration of a cluster administrator.
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

// WriteKubeconfig writes the kubeconfig file of a cluster administrator and returns its
// path.
func (c *ControlPlane) WriteKubeconfig() (string, error) {
	config, err := c.config()
	if err != nil {
		return "", err
	}
	return c.file("kubeconfig"), clientcmd.WriteToFile(*config, c.file("kubeconfig"))
}

// Client returns a client of a cluster administrator without a rate limit. It connects from
// the namespace of the control plane, so it works in any namespace.
func (c *ControlPlane) Client() (kubernetes.Interface, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.ContentConfig = rest.ContentConfig{
		ContentType:        "application/vnd.kubernetes.protobuf",
		AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
	}
	return kubernetes.NewForConfig(config)
}

// RESTConfig returns the configuration of other clients, with the properties of Client.
func (c *ControlPlane) RESTConfig() (*rest.Config, error) {
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
	config.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.cfg.Namespace.DialContext(ctx, net.Dialer{}, network, addr)
	}
	return config, nil
}
