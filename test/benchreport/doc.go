// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package benchreport keeps the results of make bench-report, which TestReport of test/e2e measures, and
// writes them as a table and as plots (SVG).
package benchreport
