#!/bin/sh
# Builds and vets the module with the newest Kubernetes libraries it is tested with,
# without touching go.mod: go.mod holds the floor.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp go.mod "$dir/go.mod"
cp go.sum "$dir/go.sum"
for m in api apimachinery client-go; do
	go mod edit -modfile="$dir/go.mod" -require="k8s.io/$m@v0.37.2" 2>/dev/null ||
		go mod edit -require="k8s.io/$m@v0.37.2" "$dir/go.mod"
done
go mod tidy -modfile="$dir/go.mod" 2>/dev/null || go get -modfile="$dir/go.mod" k8s.io/client-go@v0.37.2
go vet -modfile="$dir/go.mod" ./...
