// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	defaultSyncPeriod = 30 * time.Second
	disabled          = "off"
)

// options are what the command line says.
type options struct {
	configuration
	configFile string
	master     string
	cleanup    bool
	version    bool
	verbosity  int
	ignored    []string // flags of kube-proxy that were given and mean nothing here
}

// parse reads the command line and the configuration file that it names. With a
// file, the file's settings count and the flags for them do not, but for
// --hostname-override and --v.
func parse(args []string, stderr io.Writer) (*options, *slog.Logger, error) {
	o := &options{}
	fs := flag.NewFlagSet("kube-proxy", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o.define(fs)
	if err := fs.Parse(args); err != nil {
		return nil, nil, err
	}
	if fs.NArg() > 0 {
		return nil, nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level(o.verbosity)}))
	fs.Visit(func(f *flag.Flag) {
		if _, ok := f.Value.(*unusedFlag); ok {
			o.ignored = append(o.ignored, "--"+f.Name)
		}
	})
	override := o.HostnameOverride
	if o.configFile != "" {
		cfg, err := load(o.configFile, log)
		if err != nil {
			return nil, nil, err
		}
		o.configuration = *cfg
	}
	if err := o.hostname(override); err != nil {
		return nil, nil, err
	}
	if err := o.complete(); err != nil {
		return nil, nil, fmt.Errorf("bad configuration:\n%w", err)
	}
	o.ignored = append(o.ignored, o.unused()...)
	return o, log, nil
}

func (o *options) define(fs *flag.FlagSet) {
	fs.StringVar(&o.configFile, "config", "", "a KubeProxyConfiguration `file`; most other flags then have no effect")
	fs.StringVar(&o.ClientConnection.Kubeconfig, "kubeconfig", "", "a kubeconfig `file`; without it, the pod's service account")
	fs.StringVar(&o.master, "master", "", "the API server's `URL`; overrides the kubeconfig")
	fs.StringVar(&o.HostnameOverride, "hostname-override", "", "the node's `name`, instead of the host name")
	fs.StringVar(&o.Mode, "proxy-mode", "", "how to program the node: "+strings.Join(modes(), ", "))
	fs.StringVar(&o.ClusterCIDR, "cluster-cidr", "", "the pods' `networks`, comma-separated, one of each family")
	fs.StringVar(&o.DetectLocalMode, "detect-local-mode", "", "how to tell local pods: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix")
	fs.StringVar(&o.DetectLocal.BridgeInterface, "pod-bridge-interface", "", "the bridge of local pods, for BridgeInterface")
	fs.StringVar(&o.DetectLocal.InterfaceNamePrefix, "pod-interface-name-prefix", "", "the beginning of local pods' interface names, for InterfaceNamePrefix")
	fs.Func("nodeport-addresses", "`networks` and keywords (primary, localhost, all), comma-separated, that answer on node ports", func(s string) error {
		o.NodePortAddresses = append(o.NodePortAddresses, strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })...)
		return nil
	})
	fs.StringVar(&o.BindAddress, "bind-address", "", "the node's `address`; an unspecified one leaves the choice to the Node object")
	addr := func(name string, to *string, usage string) {
		fs.Func(name, usage, func(s string) error {
			if *to = s; s == "" {
				*to = disabled
			}
			return nil
		})
	}
	addr("healthz-bind-address", &o.HealthzBindAddress, "`host:port` of /healthz and /livez; empty disables (default 0.0.0.0:10256)")
	addr("metrics-bind-address", &o.MetricsBindAddress, "`host:port` of /metrics and /proxyMode; empty disables (default 127.0.0.1:10249)")
	fs.BoolVar(&o.EnableProfiling, "profiling", false, "serve /debug/pprof on the metrics address")
	fs.BoolVar(&o.NFTables.MasqueradeAll, "masquerade-all", false, "masquerade all clients of cluster IPs")
	fs.BoolVar(&o.cleanup, "cleanup", false, "remove all rules and exit")
	fs.BoolVar(&o.version, "version", false, "print the version and exit")
	fs.IntVar(&o.verbosity, "v", 0, "log `level`; 2 and more also logs what is of interest to developers")
	o.defineConntrack(fs)
	for _, name := range strings.Fields(unusedNames) {
		name, isBool := strings.CutSuffix(name, "?")
		fs.Var(&unusedFlag{isBool}, name, "accepted for kube-proxy's sake; has no effect")
	}
}

func (o *options) defineConntrack(fs *flag.FlagSet) {
	c := &o.Conntrack
	number := func(name string, to **int32, usage string) {
		fs.Func(name, usage, func(s string) error {
			n, err := strconv.ParseInt(s, 10, 32)
			v := int32(n)
			*to = &v
			return err
		})
	}
	duration := func(name string, to **metav1.Duration, usage string) {
		fs.Func(name, usage, func(s string) error {
			d, err := time.ParseDuration(s)
			*to = &metav1.Duration{Duration: d}
			return err
		})
	}
	number("conntrack-max-per-core", &c.MaxPerCore, "tracked connections per processor, a `number`; 0 leaves the kernel's limit alone (default 32768)")
	number("conntrack-min", &c.Min, "the least `number` of tracked connections (default 131072)")
	duration("conntrack-tcp-timeout-established", &c.TCPEstablishedTimeout, "how `long` idle TCP connections are tracked; 0 leaves it alone (default 24h)")
	duration("conntrack-tcp-timeout-close-wait", &c.TCPCloseWaitTimeout, "how `long` TCP connections in CLOSE_WAIT are tracked; 0 leaves it alone (default 1h)")
	fs.BoolVar(&c.TCPBeLiberal, "conntrack-tcp-be-liberal", false, "let the kernel track packets outside of the TCP window")
	fs.DurationVar(&c.UDPTimeout.Duration, "conntrack-udp-timeout", 0, "how `long` unanswered UDP flows are tracked; 0 leaves it alone")
	fs.DurationVar(&c.UDPStreamTimeout.Duration, "conntrack-udp-timeout-stream", 0, "how `long` answered UDP flows are tracked; 0 leaves it alone")
}

// unusedNames are flags of kube-proxy that mean nothing here; those with a question
// mark need no value.
const unusedNames = `bind-address-hard-fail? cleanup-ipvs? config-sync-period feature-gates init-only? iptables-localhost-nodeports?
	iptables-masquerade-bit iptables-min-sync-period iptables-sync-period ipvs-exclude-cidrs ipvs-min-sync-period
	ipvs-scheduler ipvs-strict-arp? ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout
	kube-api-burst kube-api-content-type kube-api-qps log-flush-frequency log-json-info-buffer-size
	log-json-split-stream? log-text-info-buffer-size log-text-split-stream? logging-format oom-score-adj
	show-hidden-metrics-for-version vmodule`

type unusedFlag struct{ isBool bool }

func (*unusedFlag) Set(string) error   { return nil }
func (*unusedFlag) String() string     { return "" }
func (f *unusedFlag) IsBoolFlag() bool { return f.isBool }

// hostname decides the node's name: the flag, then the file, then the host.
func (o *options) hostname(flag string) error {
	if flag != "" {
		o.HostnameOverride = flag
	}
	name := o.HostnameOverride
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("no host name, use --hostname-override: %w", err)
		}
		name = host
	}
	if o.HostnameOverride = strings.ToLower(strings.TrimSpace(name)); o.HostnameOverride == "" {
		return errors.New("hostname-override: the node's name is empty")
	}
	return nil
}

func level(verbosity int) slog.Level {
	if verbosity >= 2 {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
