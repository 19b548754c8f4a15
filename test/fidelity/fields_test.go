// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// everyField has every field at another value than its default, for the mode nftables, except
// showHiddenMetricsForVersion: the test builds kube-proxy without a version, so that it accepts none.
const everyField = `bindAddress: 192.0.2.1
bindAddressHardFail: true
clientConnection: {acceptContentTypes: application/json, burst: 11, contentType: application/json, kubeconfig: /etc/kubeconfig, qps: 6}
clusterCIDR: 10.244.0.0/16,fd00:244::/32
configSyncPeriod: 1m
conntrack: {maxPerCore: 1, min: 2, tcpBeLiberal: true, tcpCloseWaitTimeout: 3s, tcpEstablishedTimeout: 4s, udpStreamTimeout: 5s, udpTimeout: 6s}
detectLocal: {bridgeInterface: br0, interfaceNamePrefix: veth}
detectLocalMode: NodeCIDR
enableProfiling: true
featureGates: {LoggingAlphaOptions: true, HPAScaleToZero: false}
healthzBindAddress: 192.0.2.2:1
hostnameOverride: Node
iptables: {localhostNodePorts: false, masqueradeAll: true, masqueradeBit: 1, minSyncPeriod: 2s, syncPeriod: 3s}
ipvs: {excludeCIDRs: [10.0.0.0/8], minSyncPeriod: 2s, scheduler: rr, strictARP: true, syncPeriod: 3s, tcpFinTimeout: 4s, tcpTimeout: 5s, udpTimeout: 6s}
logging: {flushFrequency: 6s, format: text, verbosity: 1, vmodule: [{filePattern: a, verbosity: 1}],
  options: {json: {infoBufferSize: 1Ki, splitStream: true}, text: {infoBufferSize: 2Ki, splitStream: true}}}
metricsBindAddress: 192.0.2.3:2
mode: nftables
nftables: {masqueradeAll: true, masqueradeBit: 4, minSyncPeriod: 5s, syncPeriod: 6s}
nodePortAddresses: [10.0.0.0/8, localhost]
oomScoreAdj: 7
portRange: 1-2
windowsRunAsService: true
winkernel: {enableDSR: true, forwardHealthCheckVip: true, networkName: net, rootHnsEndpointName: r, sourceVip: 192.0.2.4}
`

// everyFlag has each flag for a field of everyField at another value than its default.
func everyFlag() []string {
	return strings.Fields(`--bind-address=192.0.2.1 --bind-address-hard-fail --cluster-cidr=10.244.0.0/16 --config-sync-period=1m
		--conntrack-max-per-core=1 --conntrack-min=2 --conntrack-tcp-be-liberal --conntrack-tcp-timeout-close-wait=3s
		--conntrack-tcp-timeout-established=4s --conntrack-udp-timeout=5s --conntrack-udp-timeout-stream=6s --detect-local-mode=NodeCIDR
		--feature-gates=LoggingAlphaOptions=true,HPAScaleToZero=false --healthz-bind-address=192.0.2.2:1 --hostname-override=Node
		--iptables-localhost-nodeports=false --iptables-masquerade-bit=1 --iptables-min-sync-period=2s --iptables-sync-period=3s
		--ipvs-exclude-cidrs=10.0.0.0/8,10.1.0.0/16 --ipvs-min-sync-period=2s --ipvs-scheduler=rr --ipvs-strict-arp --ipvs-sync-period=3s
		--ipvs-tcp-timeout=1s --ipvs-tcpfin-timeout=2s --ipvs-udp-timeout=3s --kube-api-burst=11 --kube-api-content-type=application/json
		--kube-api-qps=6 --kubeconfig=/etc/kubeconfig --log-flush-frequency=6s --log-json-info-buffer-size=1Ki --log-json-split-stream
		--log-text-info-buffer-size=2Ki --log-text-split-stream --logging-format=text --masquerade-all --master=https://192.0.2.9
		--metrics-bind-address=192.0.2.3:2 --nodeport-addresses=10.0.0.0/8,localhost --oom-score-adj=7 --pod-bridge-interface=br0
		--pod-interface-name-prefix=veth --profiling --proxy-mode=nftables -v=1 --vmodule=a=1`)
}

// fieldCases are the command lines by the prefix of their items.
func fieldCases(t *testing.T) map[string][]string {
	file := func(lines string, more ...string) []string {
		return append([]string{"--config=" + configFile(t, lines)}, more...)
	}
	return map[string][]string{
		"no flags":                 nil,
		"--proxy-mode=nftables":    {"--proxy-mode=nftables"},
		"--proxy-mode=iptables":    {"--proxy-mode=iptables"},
		"an empty file":            file(""),
		"mode: nftables":           file("mode: nftables\n"),
		"mode: iptables":           file("mode: iptables\niptables: {masqueradeAll: true, syncPeriod: 5s}\n"),
		"mode: ipvs":               file("mode: ipvs\nipvs: {minSyncPeriod: 2s}\n"),
		"every field":              file(everyField),
		"every flag":               everyFlag(),
		"every flag beside a file": file("mode: nftables\nlogging: {vmodule: [{filePattern: b, verbosity: 2}]}\nnftables: {minSyncPeriod: 1s}\nfeatureGates: {LoggingAlphaOptions: true}\n", everyFlag()...),
		"an IPv6 bindAddress":      file("mode: nftables\nbindAddress: fd00::1\nnftables: {minSyncPeriod: 1s}\n"),
		"addresses without port":   file("mode: nftables\nhealthzBindAddress: '::'\nmetricsBindAddress: 192.0.2.1\nnftables: {minSyncPeriod: 1s}\n"),
		"an unknown field":         file("mode: nftables\nnone: 1\nnftables: {minSyncPeriod: 1s}\n"),
		"a duplicate field":        file("mode: nftables\nnftables: {minSyncPeriod: 1s}\noomScoreAdj: 1\noomScoreAdj: 2\n"),
		"empty addresses":          {"--proxy-mode=iptables", "--healthz-bind-address=", "--metrics-bind-address=", "--bind-address="},
		"an IPv6 --bind-address":   {"--proxy-mode=iptables", "--bind-address=fd00::1"},
		"underscores":              {"--proxy_mode=iptables", "--oom_score_adj=3", "--nodeport_addresses=all"},
		"a JSON file":              file("mode: nftables\n" + `nftables: {"minSyncPeriod": "1s", "masqueradeBit": 5}` + "\n"),
	}
}

// effective returns the fields that a program writes for a command line, with the prefix.
func effective(t *testing.T, path, prefix string, args []string) map[string]string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.yaml")
	code, _, stderr := execute(t, path, append(args, "--write-config-to="+out)...)
	require.Zero(t, code, "%s %v: %s", path, args, stderr)
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	items := map[string]string{}
	for field, value := range flatten(t, data) {
		items[prefix+": "+field] = value
	}
	return items
}

// flatten returns the values of a YAML document as JSON by their paths. Lists and maps whose
// keys are data are one value.
func flatten(t *testing.T, data []byte) map[string]string {
	t.Helper()
	var tree map[string]any
	require.NoError(t, yaml.Unmarshal(data, &tree))
	items := map[string]string{}
	var walk func(prefix string, tree map[string]any)
	walk = func(prefix string, tree map[string]any) {
		for name, value := range tree {
			if section, ok := value.(map[string]any); ok && name != "featureGates" {
				walk(prefix+name+".", section)
				continue
			}
			text, err := json.Marshal(value)
			require.NoError(t, err)
			items[prefix+name] = string(text)
		}
	}
	walk("", tree)
	return items
}

func TestFields(t *testing.T) {
	kubeProxy, here := build(t)
	theirs, ours := map[string]string{}, map[string]string{}
	for prefix, args := range fieldCases(t) {
		maps.Copy(theirs, effective(t, kubeProxy, prefix, args))
		maps.Copy(ours, effective(t, here, prefix, args))
	}
	compare(t, fieldsTitle, theirs, ours)
}

// TestEveryFieldIsCompared checks that everyField has each field that kube-proxy writes,
// at another value than the default.
func TestEveryFieldIsCompared(t *testing.T) {
	kubeProxy, _ := build(t)
	given := flatten(t, []byte(everyField))
	defaults := effective(t, kubeProxy, "", []string{"--proxy-mode=nftables"})
	for _, field := range slices.Sorted(maps.Keys(defaults)) {
		switch name := strings.TrimPrefix(field, ": "); name {
		case "apiVersion", "kind", "mode", "logging.format", // the format json excludes vmodule
			"showHiddenMetricsForVersion":
		default:
			require.Contains(t, given, name)
			require.NotEqual(t, defaults[field], given[name], name)
		}
	}
	require.Len(t, given, 59, "all but showHiddenMetricsForVersion")
}
