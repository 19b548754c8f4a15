#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Runs the command in test/release, which builds and checks the files of a release. cyclonedx-gomod,
# which describes programs, is installed into .tools, in a pinned version.
# usage: release.sh build | prepare | notes [FLAG ...]
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=test/gotool.sh
. ./test/gotool.sh
GO=${GO:-go}
sbom=
if [ "${1:-}" = build ]; then
	go_tool cyclonedx-gomod github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod v1.10.0
	sbom=$PWD/.tools/bin/cyclonedx-gomod
fi
command=${1:-}
[ $# -eq 0 ] || shift
root=$PWD
cd test
exec "$GO" run ./release "$command" -root "$root" -sbom "$sbom" "$@"
