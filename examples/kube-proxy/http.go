package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/nodelocal"
)

// healthHandler serves /healthz, for load balancers and others who ask whether to
// send traffic here, and /livez, for whoever restarts a proxy that is stuck.
func healthHandler(p *healthcheck.Proxy, m *monitor, eligible func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", promhttp.InstrumentHandlerCounter(m.healthz, p.Healthz(eligible)))
	mux.Handle("/livez", promhttp.InstrumentHandlerCounter(m.livez, p.Livez()))
	return mux
}

// metricsHandler serves what operators of this node ask.
func metricsHandler(m *monitor, o *options, explain func(localsink.ServiceName) (*nodelocal.Explanation, error)) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	text := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	}
	text("/healthz", "ok")
	text("/proxyMode", o.Mode)
	mux.HandleFunc("/configz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"kubeproxy.config.k8s.io": o.configuration})
	})
	mux.HandleFunc("/state", func(w http.ResponseWriter, _ *http.Request) { writeState(w, m) })
	mux.HandleFunc("/state/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := localsink.ServiceName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
		x, err := explain(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeService(w, r, m, name, x)
	})
	if o.EnableProfiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// writeState prints what is in place on the node, Service by Service.
func writeState(w io.Writer, m *monitor) {
	u, err := m.state()
	if err != nil {
		fmt.Fprintf(w, "# the last attempt failed: %v\n", err)
	}
	if u == nil {
		fmt.Fprintln(w, "# nothing is applied yet")
		return
	}
	fmt.Fprintf(w, "# node %s %v\n", u.Node.Name, u.Node.IPs)
	for svc := range u.All.All() {
		_, _ = io.WriteString(w, svc.Text())
	}
}

// serviceState is what there is to say of one Service.
type serviceState struct {
	Wanted  *nodelocal.Explanation `json:"wanted,omitempty"`
	Applied string                 `json:"applied,omitempty"`
	// LastError is why something newer is not applied; it may be another Service's.
	LastError string `json:"lastError,omitempty"`
}

// writeService says of one Service what is wanted and why, and what is applied; as
// JSON with ?output=json.
func writeService(w http.ResponseWriter, r *http.Request, m *monitor, name localsink.ServiceName, x *nodelocal.Explanation) {
	s := serviceState{Wanted: x}
	u, err := m.state()
	if err != nil {
		s.LastError = err.Error()
	}
	if u != nil {
		if svc := u.All.Get(name); svc != nil {
			s.Applied = svc.Text()
		}
	}
	switch {
	case s.Wanted == nil && s.Applied == "":
		http.Error(w, "no Service "+name.String(), http.StatusNotFound)
	case r.FormValue("output") == "json":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s)
	default:
		if s.Wanted != nil {
			fmt.Fprintf(w, "# wanted\n%s", s.Wanted.Text())
		}
		fmt.Fprintf(w, "# applied\n%s", s.Applied)
		if s.LastError != "" {
			fmt.Fprintf(w, "# the last attempt failed: %s\n", s.LastError)
		}
	}
}

// serve answers HTTP on addr until ctx is done; an empty address serves nothing. A
// port that is taken is tried again.
func serve(ctx context.Context, addr string, h http.Handler, log *slog.Logger) {
	if addr == "" {
		return
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	for ctx.Err() == nil {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err == nil {
			err = srv.Serve(ln)
		}
		if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
			return
		}
		log.Error("Cannot serve HTTP, will try again", "address", addr, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}
