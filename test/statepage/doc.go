// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package statepage contains only tests. They open the pages of /state in Chromium.
package statepage
