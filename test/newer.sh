#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Vets the module, and tests watchers/, with the newest Kubernetes libraries that it is
# tested with. go.mod, which has the lowest, stays as it is.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp go.mod "$dir/go.mod"
cp go.sum "$dir/go.sum"
for m in api apimachinery client-go component-base kube-proxy; do
	go mod edit -require="k8s.io/$m@v0.37.2" "$dir/go.mod"
done
go mod tidy -modfile="$dir/go.mod"
go vet -modfile="$dir/go.mod" ./...
go test -modfile="$dir/go.mod" ./watchers/...
