// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// NewBuildInfo returns a collector of kubernetes_build_info: 1 with the build of the program
// as labels. version is that of the program.
func NewBuildInfo(version string) prometheus.Collector {
	settings := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	treeState := map[string]string{"true": "dirty", "false": "clean"}[settings["vcs.modified"]]
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubernetes_build_info", Help: "1, with the build of the program as labels.",
		ConstLabels: prometheus.Labels{
			"major": major, "minor": minor, "git_version": version, "git_commit": settings["vcs.revision"], "git_tree_state": treeState,
			"build_date": settings["vcs.time"], "go_version": runtime.Version(), "compiler": runtime.Compiler,
			"platform": runtime.GOOS + "/" + runtime.GOARCH,
		},
	})
	g.Set(1)
	return g
}

// A Feature is a feature gate of kube-proxy that has an effect on a program.
type Feature struct {
	Name string
	// Stage is that of the gate in kube-proxy: ALPHA, BETA, DEPRECATED, or "" for a feature
	// that is generally available.
	Stage   string
	Enabled bool
}

// NewFeatures returns a collector of kubernetes_feature_enabled: 1 for each enabled
// feature, 0 for each other one.
func NewFeatures(features ...Feature) prometheus.Collector {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kubernetes_feature_enabled", Help: "1 if a feature gate of kube-proxy is enabled, 0 otherwise.",
	}, []string{"name", "stage"})
	for _, f := range features {
		vec.WithLabelValues(f.Name, f.Stage).Set(number(f.Enabled))
	}
	return vec
}
