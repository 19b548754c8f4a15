// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"net/http"
	"time"

	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

const (
	component = "kube-proxy"
	// emulatedVersion is the version of Kubernetes whose kube-proxy this package replaces.
	emulatedVersion = "1.37"
)

// newOperatorHandler returns the handler of the metrics address.
func (p *proxy) newOperatorHandler(metricsHandler, stateHandler http.Handler) http.Handler {
	settings := p.cfg.Settings
	mux := http.NewServeMux()
	httpserver.HandleHealthz(mux)
	pages := map[string]http.Handler{
		"/metrics":      metricsHandler,
		"/metrics/slis": metrics.SLIHandler(),
		"/proxyMode":    httpserver.Text(p.cfg.Mode),
		"/configz":      httpserver.Configz("kubeproxy.config.k8s.io", settings.Configuration()),
		"/flagz":        httpserver.Flagz(component, settings.Flags()),
		"/state":        stateHandler,
	}
	paths := []string{"/healthz"}
	for path, h := range pages {
		mux.Handle(path, h)
		paths = append(paths, path)
	}
	mux.Handle("/state/", stateHandler)
	mux.Handle("/statusz", httpserver.Statusz(httpserver.StatuszConfig{
		Component: component, Version: p.cfg.Version, Emulation: emulatedVersion, Started: time.Now(), Paths: paths,
	}))
	if settings.Profiling() {
		httpserver.HandleProfiling(mux)
		if p.cfg.SetVerbosity != nil {
			httpserver.HandleVerbosity(mux, p.cfg.SetVerbosity)
		}
	}
	return httpserver.NoSniff(mux)
}
