// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// Options are the values of kube-proxy's command line.
type Options struct {
	// ConfigFile is the path of a configuration file; "" means that the flags are the
	// configuration.
	ConfigFile string
	// WriteConfigTo, Cleanup and InitOnly ask for another action than running a proxy:
	// to write the configuration to a file, to remove all rules, and to set what requires
	// full privileges.
	WriteConfigTo     string
	Cleanup, InitOnly bool

	set                      *pflag.FlagSet
	isWindows                bool
	config                   v1alpha1.KubeProxyConfiguration // of the flags
	version                  versionValue
	master, hostnameOverride string
	proxyName, counts        string
	rewrites                 int
	devices                  []string
	healthzPort, metricsPort int32

	// Values of flags that belong to no single field.
	masqueradeAll                         bool
	iptablesSyncPeriod, iptablesMinPeriod time.Duration
	ipvsSyncPeriod, ipvsMinPeriod         time.Duration
}

// Parse defines kube-proxy's flags in fs and parses args, without the program's name. It
// returns [flag.ErrHelp] if args ask for help; [pflag.FlagSet.FlagUsages] has it. Like
// kube-proxy it accepts underscores in names, and prints a warning about a deprecated flag to the
// output of fs.
func Parse(fs *pflag.FlagSet, args []string) (*Options, error) {
	return ParseFor(fs, args, runtime.GOOS)
}

// ParseFor is like [Parse] for the kube-proxy of another system: "windows" has flags and a mode of
// its own.
func ParseFor(fs *pflag.FlagSet, args []string, system string) (*Options, error) {
	o := &Options{set: fs, healthzPort: healthzPort, metricsPort: metricsPort, version: "false", isWindows: system == "windows"}
	setDefaults(&o.config)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	o.define(fs)
	help := fs.BoolP("help", "h", false, "print the flags and exit")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if *help {
		return nil, flag.ErrHelp
	}
	for _, arg := range fs.Args() {
		if arg != "" {
			return nil, fmt.Errorf("unexpected argument %q", arg)
		}
	}
	return o, nil
}

// Flags returns the value of every flag by its name.
func (o *Options) Flags() map[string]string {
	values := map[string]string{}
	o.set.VisitAll(func(f *pflag.Flag) { values[f.Name] = f.Value.String() })
	return values
}

// changed reports whether the command line sets a flag.
func (o *Options) changed(name string) bool { return o.set.Changed(name) }

const fileWins = "; has no effect with --config"

func (o *Options) define(fs *pflag.FlagSet) {
	c := &o.config
	fs.StringVar(&o.ConfigFile, "config", "", "path of a KubeProxyConfiguration file; most other flags have no effect then")
	fs.StringVar(&o.WriteConfigTo, "write-config-to", "", "write the configuration to this file and exit")
	fs.BoolVar(&o.Cleanup, "cleanup", false, "remove all rules, those of kube-proxy too, and exit")
	fs.BoolVar(&o.InitOnly, "init-only", false, "set the kernel parameters, which requires full privileges, and exit; the proxy then needs CAP_NET_ADMIN only")
	fs.Var(&o.version, "version", "print the version and exit; raw prints more, and vX.Y.Z is the version to report")
	fs.Lookup("version").NoOptDefVal = "true"
	fs.Var(cliflag.NewMapStringBool(&c.FeatureGates), "feature-gates", "feature gates of Kubernetes, NAME=true|false (comma-separated)"+fileWins)

	client := &c.ClientConnection
	fs.StringVar(&client.Kubeconfig, "kubeconfig", client.Kubeconfig, "path of a kubeconfig file; empty means the service account of the pod"+fileWins)
	fs.StringVar(&o.master, "master", "", "URL of the API server; overrides that of the kubeconfig file")
	fs.StringVar(&client.ContentType, "kube-api-content-type", client.ContentType, "content type of requests to the API server"+fileWins)
	fs.Int32Var(&client.Burst, "kube-api-burst", client.Burst, "requests to the API server that may exceed --kube-api-qps"+fileWins)
	fs.Float32Var(&client.QPS, "kube-api-qps", client.QPS, "requests to the API server per second"+fileWins)
	fs.DurationVar(&c.ConfigSyncPeriod.Duration, "config-sync-period", c.ConfigSyncPeriod.Duration,
		"time between resynchronizations of the informers of kube-proxy; must be positive"+fileWins)

	fs.StringVar(&o.hostnameOverride, "hostname-override", "", "name of the node; empty means the file's, or the host name")
	fs.StringVar(&o.proxyName, "proxy-name", "",
		"name of this proxy: serve the Services with this value of the label service.kubernetes.io/service-proxy-name instead of those without the label")
	fs.StringVar(&o.counts, "count-connections", "",
		"count new connections by frontend and endpoint, for /state, and for /metrics those of services (by frontend) or of endpoints too; empty counts none")
	fs.IntVar(&o.rewrites, "recent-rewrites", 0, "recent connections whose destination was replaced at the socket, for /state, in the mode ebpf; 0 records none")
	fs.StringSliceVar(&o.devices, "ebpf-devices", nil,
		"network devices, or patterns such as eth*, on which connections from outside are decided at tc, in the mode ebpf (Linux 6.1); empty means none")
	ip := func(to *string, name, usage string) {
		fs.Var(&stringValue{to: to, typ: "ip", check: checkIP, keepIfEmpty: true}, name, usage+fileWins)
	}
	ipPort := func(to *string, name, usage string) {
		fs.Var(&stringValue{to: to, typ: "ipport", check: checkIPPort, keepIfEmpty: true}, name, usage+fileWins)
	}
	ip(&c.BindAddress, "bind-address", "primary IP address of the node; an unspecified address means that of the Node object")
	ipPort(&c.HealthzBindAddress, "healthz-bind-address", "IP address and port of /healthz and /livez")
	ipPort(&c.MetricsBindAddress, "metrics-bind-address", "IP address and port of /metrics, /state, /configz and /proxyMode")
	fs.Int32Var(&o.healthzPort, "healthz-port", o.healthzPort, "port of /healthz if the address has none; 0 disables it"+fileWins)
	fs.Int32Var(&o.metricsPort, "metrics-port", o.metricsPort, "port of /metrics if the address has none"+fileWins)
	_ = fs.MarkDeprecated("healthz-port", "use --healthz-bind-address") // the flag exists
	_ = fs.MarkDeprecated("metrics-port", "use --metrics-bind-address")
	fs.BoolVar(&c.BindAddressHardFail, "bind-address-hard-fail", false, "exit if an address cannot be bound, instead of trying again"+fileWins)
	fs.BoolVar(&c.EnableProfiling, "profiling", false, "serve /debug/pprof on the metrics address"+fileWins)
	fs.StringVar(&c.ShowHiddenMetricsForVersion, "show-hidden-metrics-for-version", "",
		"previous minor version of Kubernetes, whose hidden metrics to show"+fileWins)
	o.defineProxy(fs)
	o.defineIPVS(fs)
	o.defineKernel(fs)
	if o.isWindows {
		o.defineWindows(fs)
	}
	defineLogging(fs, &c.Logging)
}

// defineProxy defines the flags of the proxy itself, which choose its mode and its rules.
func (o *Options) defineProxy(fs *pflag.FlagSet) {
	c := &o.config
	fs.Var(&stringValue{to: (*string)(&c.Mode), typ: "ProxyMode"}, "proxy-mode",
		"packet filter: "+strings.Join(modes(o.isWindows), ", ")+"; empty means "+defaultMode(o.isWindows)+fileWins)
	fs.Var(&stringValue{to: (*string)(&c.DetectLocalMode), typ: "LocalMode"}, "detect-local-mode",
		"how to detect packets from pods of this node: "+strings.Join(localModes(), ", ")+"; empty means "+detectClusterCIDR+fileWins)
	fs.StringVar(&c.ClusterCIDR, "cluster-cidr", "", "network of all pods, or one of each address family (comma-separated), for "+detectClusterCIDR+fileWins)
	fs.StringVar(&c.DetectLocal.BridgeInterface, "pod-bridge-interface", "", "name of the bridge of the pods, for "+detectBridgeInterface+fileWins)
	fs.StringVar(&c.DetectLocal.InterfaceNamePrefix, "pod-interface-name-prefix", "",
		"prefix of the interface names of the pods, for "+detectInterfacePrefix+fileWins)
	fs.StringSliceVar(&c.NodePortAddresses, "nodeport-addresses", nil,
		"networks and keywords (primary, localhost, all) of the addresses that serve node ports; empty means primary"+fileWins)
	fs.BoolVar(&o.masqueradeAll, "masquerade-all", false, "masquerade all traffic to cluster IPs"+fileWins)

	fs.Int32Var(c.IPTables.MasqueradeBit, "iptables-masquerade-bit", *c.IPTables.MasqueradeBit, "bit of the packet mark for the modes iptables and ipvs"+fileWins)
	fs.BoolVar(c.IPTables.LocalhostNodePorts, "iptables-localhost-nodeports", true, "serve node ports on 127.0.0.1 in the mode iptables"+fileWins)
	fs.DurationVar(&o.iptablesSyncPeriod, "iptables-sync-period", defaultSyncPeriod,
		"maximum time between attempts to apply rules, in every mode but ipvs; half of the time after which a proxy that cannot is unhealthy"+fileWins)
	fs.DurationVar(&o.iptablesMinPeriod, "iptables-min-sync-period", c.NFTables.MinSyncPeriod.Duration,
		"minimum time between updates of rules, in every mode but ipvs; 0 applies each change at once"+fileWins)
}

// defineIPVS defines the flags of the mode ipvs, which have no effect in other modes.
func (o *Options) defineIPVS(fs *pflag.FlagSet) {
	c := &o.config.IPVS
	const ipvsOnly = ", for the mode ipvs" + fileWins
	fs.DurationVar(&o.ipvsSyncPeriod, "ipvs-sync-period", defaultSyncPeriod, "maximum time between attempts to apply rules"+ipvsOnly)
	fs.DurationVar(&o.ipvsMinPeriod, "ipvs-min-sync-period", c.MinSyncPeriod.Duration, "minimum time between updates of rules"+ipvsOnly)
	fs.StringVar(&c.Scheduler, "ipvs-scheduler", "", "scheduler"+ipvsOnly)
	fs.StringSliceVar(&c.ExcludeCIDRs, "ipvs-exclude-cidrs", nil, "networks whose virtual servers are not removed"+ipvsOnly)
	fs.BoolVar(&c.StrictARP, "ipvs-strict-arp", false, "set arp_ignore to 1 and arp_announce to 2"+ipvsOnly)
	fs.DurationVar(&c.TCPTimeout.Duration, "ipvs-tcp-timeout", 0, "timeout of idle TCP connections; 0 keeps that of the kernel"+ipvsOnly)
	fs.DurationVar(&c.TCPFinTimeout.Duration, "ipvs-tcpfin-timeout", 0, "timeout of TCP connections after FIN; 0 keeps that of the kernel"+ipvsOnly)
	fs.DurationVar(&c.UDPTimeout.Duration, "ipvs-udp-timeout", 0, "timeout of UDP flows; 0 keeps that of the kernel"+ipvsOnly)
}

// defineKernel defines the flags of the process and of connection tracking.
func (o *Options) defineKernel(fs *pflag.FlagSet) {
	c := &o.config
	fs.Int32Var(c.OOMScoreAdj, "oom-score-adj", *c.OOMScoreAdj, "oom_score_adj of the process, from -1000 to 1000"+fileWins)
	ct := &c.Conntrack
	fs.Int32Var(ct.MaxPerCore, "conntrack-max-per-core", *ct.MaxPerCore,
		"maximum number of tracked connections per CPU of the node; 0 keeps the limit of the kernel"+fileWins)
	fs.Int32Var(ct.Min, "conntrack-min", *ct.Min, "minimum of the limit of tracked connections, unless --conntrack-max-per-core is 0"+fileWins)
	fs.DurationVar(&ct.TCPEstablishedTimeout.Duration, "conntrack-tcp-timeout-established", ct.TCPEstablishedTimeout.Duration,
		"timeout of idle TCP connections; 0 keeps that of the kernel"+fileWins)
	fs.DurationVar(&ct.TCPCloseWaitTimeout.Duration, "conntrack-tcp-timeout-close-wait", ct.TCPCloseWaitTimeout.Duration,
		"timeout of TCP connections in CLOSE_WAIT; 0 keeps that of the kernel"+fileWins)
	fs.BoolVar(&ct.TCPBeLiberal, "conntrack-tcp-be-liberal", false, "track TCP packets outside of the window"+fileWins)
	fs.DurationVar(&ct.UDPTimeout.Duration, "conntrack-udp-timeout", 0, "timeout of UDP flows without replies; 0 keeps that of the kernel"+fileWins)
	fs.DurationVar(&ct.UDPStreamTimeout.Duration, "conntrack-udp-timeout-stream", 0, "timeout of UDP flows with replies; 0 keeps that of the kernel"+fileWins)
}
