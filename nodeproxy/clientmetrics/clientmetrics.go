// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clientmetrics has the rest_client_* metrics of Kubernetes programs: the requests
// of all clients of API servers in the process.
//
// client-go reports its requests to one set of hooks for the whole process, in variables
// of its own; so only a main function uses this package, once.
package clientmetrics

import (
	"context"
	"errors"
	"math"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientgo "k8s.io/client-go/tools/metrics"
)

// namespace is the first part of the names of client-go's metrics.
const namespace = "rest_client"

// Register installs the hooks of client-go and returns what they collect. It must be
// called before the first client is created. The error is that hooks were installed
// before: then the collectors would stay empty.
func Register() ([]prometheus.Collector, error) {
	c := newCollectors()
	clientgo.Register(c.hooks())
	if clientgo.RequestResult != clientgo.ResultMetric(c.results) {
		return nil, errors.New("clientmetrics: the metrics hooks of client-go are in use")
	}
	return c.all(), nil
}

// collectors are the metrics of client-go.
type collectors struct {
	latency, rateLimiter      *latency
	requestSize, responseSize *size
	results                   *counter
	retries                   *retryCounter
	pluginCalls               *pluginCounter
	creations, cacheGCs       *labelCounter
	reloads                   *reloadCounter
	rotationGCs               *plainCounter
	cacheEntries              *gauge
	rotation                  *rotation
	expiry                    *expiry
}

func newCollectors() *collectors {
	counterVec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	histogramVec := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets},
			[]string{"verb", "host"})
	}
	seconds := []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}
	bytes := []float64{64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216}
	age := []float64{600, 1800, 3600, 14400, 86400, 604800, 2592000, 7776000, 15552000, 31104000, 124416000} // 10 minutes to 4 years
	c := &collectors{
		latency:      &latency{histogramVec("request_duration_seconds", "Duration of requests to API servers.", seconds)},
		rateLimiter:  &latency{histogramVec("rate_limiter_duration_seconds", "Time that requests waited for the rate limit of the client.", seconds)},
		requestSize:  &size{histogramVec("request_size_bytes", "Size of requests to API servers.", bytes)},
		responseSize: &size{histogramVec("response_size_bytes", "Size of responses of API servers.", bytes)},
		results:      &counter{counterVec("requests_total", "Requests to API servers by status code.", "code", "method", "host")},
		retries:      &retryCounter{counterVec("request_retries_total", "Repeated requests to API servers by status code.", "code", "verb", "host")},
		pluginCalls:  &pluginCounter{counterVec("exec_plugin_call_total", "Calls of credential plugins by exit code.", "code", "call_status")},
		creations:    &labelCounter{counterVec("transport_create_calls_total", "Transports that clients asked for, by the result of the cache.", "result")},
		cacheGCs:     &labelCounter{counterVec("transport_cache_gc_calls_total", "Attempts to delete unused transports from the cache.", "result")},
		reloads:      &reloadCounter{counterVec("transport_ca_reload_total", "Reloads of certificate authorities.", "result", "reason")},
		rotationGCs: &plainCounter{prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "transport_cert_rotation_gc_calls_total", Help: "Ended observers of client certificates.",
		})},
		cacheEntries: &gauge{prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "transport_cache_entries", Help: "Transports in the cache.",
		})},
		rotation: &rotation{prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "exec_plugin_certificate_rotation_age", Buckets: age,
			Help: "Age in seconds of client certificates of credential plugins when they were replaced.",
		})},
		expiry: &expiry{},
	}
	return c
}

func (c *collectors) hooks() clientgo.RegisterOpts {
	return clientgo.RegisterOpts{
		ClientCertExpiry: c.expiry, ClientCertRotationAge: c.rotation,
		RequestLatency: c.latency, RateLimiterLatency: c.rateLimiter, RequestSize: c.requestSize, ResponseSize: c.responseSize,
		RequestResult: c.results, RequestRetry: c.retries, ExecPluginCalls: c.pluginCalls,
		TransportCacheEntries: c.cacheEntries, TransportCreateCalls: c.creations, TransportCAReloads: c.reloads,
		TransportCertRotationGCCalls: c.rotationGCs, TransportCacheGCCalls: c.cacheGCs,
	}
}

func (c *collectors) all() []prometheus.Collector {
	ttl := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "exec_plugin_ttl_seconds",
		Help: "Time until the first client certificate of a credential plugin expires; +Inf if there is none.",
	}, c.expiry.seconds)
	return []prometheus.Collector{
		c.latency.v, c.rateLimiter.v, c.requestSize.v, c.responseSize.v, c.results.v, c.retries.v, c.pluginCalls.v,
		c.creations.v, c.cacheGCs.v, c.reloads.v, c.rotationGCs.c, c.cacheEntries.g, c.rotation.h, ttl,
	}
}

// The types below implement the interfaces of client-go's hooks.

type latency struct{ v *prometheus.HistogramVec }

func (l *latency) Observe(_ context.Context, verb string, u url.URL, d time.Duration) {
	l.v.WithLabelValues(verb, u.Host).Observe(d.Seconds())
}

type size struct{ v *prometheus.HistogramVec }

func (s *size) Observe(_ context.Context, verb, host string, bytes float64) {
	s.v.WithLabelValues(verb, host).Observe(bytes)
}

type counter struct{ v *prometheus.CounterVec }

func (c *counter) Increment(_ context.Context, code, method, host string) {
	c.v.WithLabelValues(code, method, host).Inc()
}

type retryCounter struct{ v *prometheus.CounterVec }

func (c *retryCounter) IncrementRetry(_ context.Context, code, method, host string) {
	c.v.WithLabelValues(code, method, host).Inc()
}

type pluginCounter struct{ v *prometheus.CounterVec }

func (c *pluginCounter) Increment(exitCode int, status string) {
	c.v.WithLabelValues(strconv.Itoa(exitCode), status).Inc()
}

type labelCounter struct{ v *prometheus.CounterVec }

func (c *labelCounter) Increment(result string) { c.v.WithLabelValues(result).Inc() }

type reloadCounter struct{ v *prometheus.CounterVec }

func (c *reloadCounter) Increment(result, reason string) { c.v.WithLabelValues(result, reason).Inc() }

type plainCounter struct{ c prometheus.Counter }

func (c *plainCounter) Increment() { c.c.Inc() }

type gauge struct{ g prometheus.Gauge }

func (g *gauge) Observe(value int) { g.g.Set(float64(value)) }

type rotation struct{ h prometheus.Histogram }

func (r *rotation) Observe(d time.Duration) { r.h.Observe(d.Seconds()) }

// expiry holds when the first certificate expires; nil if there is none.
type expiry struct{ at atomic.Pointer[time.Time] }

func (e *expiry) Set(at *time.Time) { e.at.Store(at) }

func (e *expiry) seconds() float64 {
	at := e.at.Load()
	if at == nil {
		return math.Inf(1)
	}
	return time.Until(*at).Seconds()
}
