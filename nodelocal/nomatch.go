// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"log/slog"
	"strings"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A matchLog logs when the name of a proxy matches no Service, or the name of the node no
// Node, and when that is over: nothing else reports a misspelt name. The store must be
// synced, because the absence of an object has no significance before.
type matchLog struct {
	logger *slog.Logger
	// served is a Service of the proxy; the zero name if there is none.
	served localsink.ServiceName
	// noService and noNode report whether that was logged last.
	noService, noNode bool
}

// services logs whether some Service is for the proxy. It takes time proportional to c, and
// looks at other Services only when the recorded one is gone.
func (l *matchLog) services(c changeSet, proxy string) {
	isServed := func(name localsink.ServiceName) bool {
		svc := c.snapshot.Service(name)
		return svc != nil && svc.IsFor(proxy)
	}
	known := l.served != localsink.ServiceName{}
	if _, changed := c.services[l.served]; known && (!changed || isServed(l.served)) {
		return
	}
	l.served = localsink.ServiceName{}
	for name := range c.services {
		if isServed(name) {
			l.served = name
			break
		}
	}
	total := 0
	if l.served == (localsink.ServiceName{}) && (known || !l.noService) {
		for svc := range c.snapshot.Services() {
			total++
			if svc.IsFor(proxy) {
				l.served = svc.Name
				break
			}
		}
	}
	switch {
	case l.served != localsink.ServiceName{}:
		if l.noService {
			l.logger.Info("Proxy name matches Services", "proxy", proxy)
		}
		l.noService = false
	case total > 0 && !l.noService:
		l.noService = true
		l.logger.Warn("Proxy name matches no Service", "proxy", proxy, "reason", fmt.Sprintf("0 of %d Services are for %s", total, proxyText(proxy)))
	}
}

// proxyText returns "proxy NAME".
func proxyText(name string) string {
	if name == "" {
		return "the default proxy, whose Services have no label service.kubernetes.io/service-proxy-name"
	}
	return "proxy " + name
}

// node logs whether the Node of cfg exists.
func (l *matchLog) node(cfg *Config, snapshot watchers.Snapshot) {
	object := snapshot.Node(cfg.NodeName)
	if (object == nil) == l.noNode {
		return
	}
	l.noNode = object == nil
	if object != nil {
		l.logger.Info("Node appeared", "node", cfg.NodeName, "ips", object.IPs, "zone", object.Zone)
		return
	}
	total, similar := 0, ""
	for o := range snapshot.Nodes() {
		total++
		if strings.EqualFold(o.Name, cfg.NodeName) {
			similar = fmt.Sprintf("; %s differs only in case", o.Name)
		}
	}
	reason := fmt.Sprintf("no Node named %s among %d%s", cfg.NodeName, total, similar)
	if last := cfg.KnownNode.Last(); last != nil {
		l.logger.Warn("Node is absent; its last addresses, pod networks and zone stay in use",
			"node", cfg.NodeName, "reason", reason, "ips", last.IPs, "zone", last.Zone, "podNetworks", last.PodCIDRs)
		return
	}
	l.logger.Warn("Node is absent, and its addresses are unknown", "node", cfg.NodeName, "reason", reason)
}
