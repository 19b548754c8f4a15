// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

// Reasons that several differences share.
const (
	whyMode      = "an unset `mode` means nftables, which needs no commands and whose changes cost what has changed"
	whyMinPeriod = "an update costs what has changed, so it is not delayed by default"
	whyContent   = "the content is compared: a proxy ends when its configuration is another one"
)

func fieldDifferences() []difference {
	list := []difference{
		{"--proxy-mode=nftables: nftables.minSyncPeriod", `"1s"`, `"0s"`, whyMinPeriod},
		{"mode: nftables: nftables.minSyncPeriod", `"1s"`, `"0s"`, whyMinPeriod},
		{"every field: logging.options.json.splitStream", absent, "true", "kube-proxy clears the field when it merges the logging flags; it has no effect here"},
		{"every field: logging.options.text.splitStream", absent, "true", "kube-proxy clears the field when it merges the logging flags; it has no effect here"},
	}
	for _, prefix := range []string{"no flags: ", "an empty file: "} {
		list = append(list, []difference{
			{prefix + "mode", `"iptables"`, `"nftables"`, whyMode},
			{prefix + "iptables.minSyncPeriod", `"1s"`, `"0s"`, whyMode},
			{prefix + "iptables.syncPeriod", `"30s"`, `"0s"`, whyMode},
			{prefix + "nftables.syncPeriod", `"0s"`, `"30s"`, whyMode},
			{prefix + "nodePortAddresses", "null", `["primary"]`, whyMode},
		}...)
	}
	return list
}

func flagDifferences() []difference {
	return []difference{
		{"--iptables-min-sync-period", "duration 1s", "duration", whyMinPeriod},
		{"--ipvs-min-sync-period", "duration 1s", "duration", whyMinPeriod},
		{"--count-connections", absent, "string", "new connections are counted by Service"},
		{"--recent-rewrites", absent, "int", "the mode ebpf can show recent connections"},
		{"--ebpf-devices", absent, "strings", "the mode ebpf can decide connections from outside at tc"},
		{"--proxy-name", absent, "string", "a proxy may serve the Services of another name than kube-proxy's"},
	}
}

func validationDifferences() []difference {
	return []difference{
		{"--iptables-sync-period=500ms", "refused", "accepted", whyMinPeriod + "; kube-proxy's delay of 1s exceeds this period"},
		{"featureGates: {AllAlpha: true, DRADerivedAttributes: false}", "refused", "accepted", "gates on which another gate depends are not checked; none of them has an effect on a service proxy"},
		{"mode: ebpf", "refused", "accepted", "a mode that kube-proxy does not have"},
	}
}

func exitDifferences() []difference {
	return []difference{
		{"--version prints", "Kubernetes VERSION", "VERSION", "the version is that of this project; `--version=raw` has one line of key=value pairs"},
		{"SIGTERM", "signal: terminated", "exit status 0", "the process ends in order"},
		{"--init-only, no API server", "exit status 1", "exit status 0", "initialisation sets kernel parameters, which needs no API server"},
		{"--cleanup, an invalid file", "exit status 1", "exit status 0", "the cleanup needs nothing of the file"},
		{"--cleanup, no file", "exit status 1", "exit status 0", "the cleanup needs nothing of the file"},
		{"a limit of the kernel cannot be set", "exit status 1", "still runs", "a proxy that serves with the kernel's values, and logs it, is better than none; `--init-only` fails"},
		{"the file is written with the same content", "exit status 1", "still runs", whyContent},
		{"another file is renamed to it", "still runs", "exit status 1", whyContent + "; kube-proxy watches only the inode of the first file"},
		{"kubelet updates the ConfigMap", "still runs", "exit status 1", whyContent + "; kube-proxy watches only the inode of the first file"},
		{"the file is removed", "still runs", "exit status 1", "a proxy does not run without its configuration, as after a rename; 2 s are left to replace the file"},
	}
}
