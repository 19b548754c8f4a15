// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Options are the values of kube-proxy's command line.
type Options struct {
	// ConfigFile is the path of a configuration file; "" means that the flags are the
	// configuration.
	ConfigFile string
	// Cleanup and Version ask for another action than running a proxy.
	Cleanup, Version bool
	// Verbosity is kube-proxy's log level; [Options.Verbose] translates it.
	Verbosity int

	flags   Configuration
	master  string
	ignored []string // flags that are set and have no effect, with dashes
}

// Verbose reports whether to log at level debug.
func (o *Options) Verbose() bool { return o.Verbosity >= 2 }

// Parse defines kube-proxy's flags in fs and parses args, without the program's name.
func Parse(fs *flag.FlagSet, args []string) (*Options, error) {
	o := &Options{}
	o.define(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	fs.Visit(func(f *flag.Flag) {
		if _, ok := f.Value.(*ignoredFlag); ok {
			o.ignored = append(o.ignored, "--"+f.Name)
		}
	})
	return o, nil
}

// Load returns the configuration of the options. It reads the configuration file, if
// there is one: then the flags for its fields have no effect, except --hostname-override.
// The error names each invalid field. A nil logger is silent.
func (o *Options) Load(logger *slog.Logger) (*Config, error) {
	c := o.flags
	if o.ConfigFile != "" {
		file, err := ReadFile(o.ConfigFile, logger)
		if err != nil {
			return nil, err
		}
		c = *file
		if o.flags.HostnameOverride != "" {
			c.HostnameOverride = o.flags.HostnameOverride
		}
	}
	cfg, err := newConfig(c, os.Hostname)
	if err != nil {
		return nil, err
	}
	cfg.master = o.master
	cfg.ignored = append(append(cfg.ignored, o.ignored...), c.ignored()...)
	return cfg, nil
}

func (o *Options) define(fs *flag.FlagSet) {
	c := &o.flags
	fs.StringVar(&o.ConfigFile, "config", "",
		"KubeProxyConfiguration `file`; the flags for its fields have no effect then, except --hostname-override")
	fs.StringVar(&c.ClientConnection.Kubeconfig, "kubeconfig", "", "kubeconfig `file` (default: the service account of the pod)")
	fs.StringVar(&o.master, "master", "", "`URL` of the API server; overrides that of the kubeconfig file")
	fs.StringVar(&c.HostnameOverride, "hostname-override", "", "`name` of the node (default: the host name)")
	fs.StringVar(&c.Mode, "proxy-mode", "", "packet filter: "+strings.Join(modes(), ", "))
	fs.StringVar(&c.ClusterCIDR, "cluster-cidr", "", "`networks` of all pods (comma-separated), at most one of each address family")
	fs.StringVar(&c.DetectLocalMode, "detect-local-mode", "",
		"how to detect packets from pods of this node: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix (default ClusterCIDR)")
	fs.StringVar(&c.DetectLocal.BridgeInterface, "pod-bridge-interface", "", "name of the bridge interface of pods, for BridgeInterface")
	fs.StringVar(&c.DetectLocal.InterfaceNamePrefix, "pod-interface-name-prefix", "", "prefix of the interface names of pods, for InterfaceNamePrefix")
	fs.Func("nodeport-addresses",
		"`networks` and keywords (primary, localhost, all; comma-separated) of the addresses that serve node ports (default primary)",
		func(s string) error {
			c.NodePortAddresses = append(c.NodePortAddresses, strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })...)
			return nil
		})
	fs.StringVar(&c.BindAddress, "bind-address", "", "primary IP `address` of the node; an unspecified address means that of the Node object (default 0.0.0.0)")
	bindAddress := func(name string, to *string, usage string) {
		fs.Func(name, usage, func(s string) error {
			if *to = s; s == "" {
				*to = disabled
			}
			return nil
		})
	}
	bindAddress("healthz-bind-address", &c.HealthzBindAddress, "`host:port` of /healthz and /livez; empty disables them (default 0.0.0.0:10256)")
	bindAddress("metrics-bind-address", &c.MetricsBindAddress,
		"`host:port` of /metrics, /state, /configz and /proxyMode; empty disables them (default 127.0.0.1:10249)")
	fs.BoolVar(&c.EnableProfiling, "profiling", false, "serve /debug/pprof on the metrics address")
	fs.BoolVar(&c.NFTables.MasqueradeAll, "masquerade-all", false, "masquerade all traffic to cluster IPs")
	fs.BoolVar(&o.Cleanup, "cleanup", false, "remove all rules and exit")
	fs.BoolVar(&o.Version, "version", false, "print the version and exit")
	fs.IntVar(&o.Verbosity, "v", 0, "log `level`; 2 and more logs debug messages")
	fs.Var(gatesFlag{&c.FeatureGates}, "feature-gates", "`list` of GATE=true or GATE=false (comma-separated); "+gateExternalIPs+" has an effect")
	defineConntrack(fs, &c.Conntrack)
	for name := range strings.FieldsSeq(ignoredFlags) {
		name, isBool := strings.CutSuffix(name, "?")
		fs.Var(&ignoredFlag{isBool}, name, "accepted for compatibility with kube-proxy; has no effect")
	}
}

func defineConntrack(fs *flag.FlagSet, c *Conntrack) {
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
	number("conntrack-max-per-core", &c.MaxPerCore,
		"maximum `number` of tracked connections per CPU; 0 keeps the limit of the kernel (default 32768)")
	number("conntrack-min", &c.Min, "minimum of the limit of tracked connections, a `number` (default 131072)")
	duration("conntrack-tcp-timeout-established", &c.TCPEstablishedTimeout,
		"`duration` for which idle TCP connections are tracked; 0 keeps that of the kernel (default 24h)")
	duration("conntrack-tcp-timeout-close-wait", &c.TCPCloseWaitTimeout,
		"`duration` for which TCP connections in CLOSE_WAIT are tracked; 0 keeps that of the kernel (default 1h)")
	fs.BoolVar(&c.TCPBeLiberal, "conntrack-tcp-be-liberal", false, "track TCP packets outside of the window")
	fs.DurationVar(&c.UDPTimeout.Duration, "conntrack-udp-timeout", 0,
		"`duration` for which UDP flows without replies are tracked; 0 keeps that of the kernel")
	fs.DurationVar(&c.UDPStreamTimeout.Duration, "conntrack-udp-timeout-stream", 0,
		"`duration` for which UDP flows with replies are tracked; 0 keeps that of the kernel")
}

// ignoredFlags are flags of kube-proxy that have no effect here. Those with a question
// mark are boolean.
const ignoredFlags = `bind-address-hard-fail? cleanup-ipvs? config-sync-period init-only? iptables-localhost-nodeports?
	iptables-masquerade-bit iptables-min-sync-period iptables-sync-period ipvs-exclude-cidrs ipvs-min-sync-period
	ipvs-scheduler ipvs-strict-arp? ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout
	kube-api-burst kube-api-content-type kube-api-qps log-flush-frequency log-json-info-buffer-size
	log-json-split-stream? log-text-info-buffer-size log-text-split-stream? logging-format oom-score-adj
	show-hidden-metrics-for-version vmodule`

type ignoredFlag struct{ isBool bool }

func (*ignoredFlag) Set(string) error   { return nil }
func (*ignoredFlag) String() string     { return "" }
func (f *ignoredFlag) IsBoolFlag() bool { return f.isBool }
