#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Compiles the eBPF programs with clang 14, that of Debian 12, whose output is committed. Other
# versions of clang produce other bytes.
# usage: bpf.sh generate | check   check fails if the committed files differ
set -eu
cd "$(dirname "$0")/.."
dir=backends/ebpf/internal/bytecode
find_program() {
	for p in "$1-14" "$1" "/usr/lib/llvm-14/bin/$1"; do
		if command -v "$p" >/dev/null 2>&1 && "$p" --version | grep -q 'version 14\.'; then
			command -v "$p"
			return 0
		fi
	done
	echo "bpf.sh: $1 of version 14 not found: install clang and llvm of Debian 12" >&2
	return 1
}
CC=$(find_program clang)
STRIP=$(find_program llvm-strip)
export CC STRIP
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# bpf2go IDENT SOURCE; its version is that of the library in go.mod
bpf2go() {
	(cd "$dir" && go run github.com/cilium/ebpf/cmd/bpf2go -go-package bytecode -cc "$CC" -strip "$STRIP" -target bpfel,bpfeb \
		-cflags "-O2 -mcpu=v3 -g -Wall -Werror -fdebug-prefix-map=$PWD=." -output-dir "$out" "$1" "$2") >/dev/null
}
bpf2go Services services.bpf.c
bpf2go Packets packets.bpf.c
bpf2go Closer closer.bpf.c
for f in "$out"/*.go; do
	{
		printf '// Copyright 2026 The Kubernetes Authors.\n// SPDX-License-Identifier: Apache-2.0\n\n'
		cat "$f"
	} >"$f.new"
	mv "$f.new" "$f"
done
case "${1:-check}" in
generate) cp "$out"/* "$dir/" ;;
check)
	for f in "$out"/*; do
		cmp "$f" "$dir/$(basename "$f")" || {
			echo "bpf.sh: $dir/$(basename "$f") is not what the source compiles to: run make bpf" >&2
			exit 1
		}
	done
	;;
*)
	echo "usage: bpf.sh generate | check" >&2
	exit 2
	;;
esac
