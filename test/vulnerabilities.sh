#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Looks for known vulnerabilities in what the packages of a module call, for the system in GOOS.
# It needs access to https://vuln.go.dev.
# usage: vulnerabilities.sh MODULE_DIRECTORY
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=test/gotool.sh
. ./test/gotool.sh
go_tool govulncheck golang.org/x/vuln/cmd/govulncheck v1.9.0
exec .tools/bin/govulncheck -C "$1" ./...
