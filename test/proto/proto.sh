#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Lints, compares and compiles the protocol in api/, with tools of pinned versions that
# are installed into .tools. `check` changes nothing, `generate` writes the Go code, and
# `baseline` records the present protocol as the one to stay compatible with.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=test/gotool.sh
. ./test/gotool.sh
GEN_GO=v1.36.12
GEN_GRPC=v1.6.2
BASELINE=test/proto/baseline.binpb

install_tools() {
	if ! command -v npm >/dev/null 2>&1; then
		echo "SKIPPED: the protocol is neither checked nor compiled: npm, which installs buf, is missing" >&2
		exit 0
	fi
	mkdir -p .tools/bin .tools/buf
	if ! cmp -s test/proto/package-lock.json .tools/buf/package-lock.json || [ ! -x .tools/buf/node_modules/.bin/buf ]; then
		cp test/proto/package.json .tools/buf/
		cp test/proto/package-lock.json .tools/buf/lock # until it is installed
		(cd .tools/buf && mv lock package-lock.json && npm ci --no-audit --no-fund --loglevel=error) ||
			{ rm -f .tools/buf/package-lock.json; exit 1; }
	fi
	go_tool protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go "$GEN_GO"
	go_tool protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc "$GEN_GRPC"
	PATH="$PWD/.tools/bin:$PWD/.tools/buf/node_modules/.bin:$PATH"
}

# against DIRECTORY_OR_IMAGE NAME
against() {
	buf breaking --against "$1" || {
		echo "the protocol is not compatible with $2" >&2
		echo "if that was never released: ./test/proto/proto.sh baseline records the present one" >&2
		exit 1
	}
}

check() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	buf lint
	against "$BASELINE" "$BASELINE"
	# The baseline does not have what was added later, so the protocol is also compared
	# with the one before its last change. A deliberate break renews the baseline in the
	# same commit.
	last=$(git log -1 --format=%H -- api buf.yaml 2>/dev/null || true)
	before=""
	if [ -n "$last" ]; then before=$(git rev-parse --quiet --verify "$last^" || true); fi
	if git diff --quiet HEAD -- api buf.yaml "$BASELINE" 2>/dev/null; then
		old=$before new=$last
	else
		old=HEAD new="" # the change is not committed yet
	fi
	if [ -z "$old" ] || ! git cat-file -e "$old:api" 2>/dev/null; then
		echo "no earlier protocol in this clone's history: compared with $BASELINE only"
	elif ! git diff --quiet "$old" ${new:+"$new"} -- "$BASELINE"; then
		echo "the last change of the protocol renewed $BASELINE: not compared with the one before"
	else
		mkdir "$tmp/old"
		git archive "$old" api buf.yaml | tar -x -C "$tmp/old"
		against "$tmp/old" "commit $old"
	fi
	buf generate --output "$tmp/new"
	for f in $(cd "$tmp/new" && find . -name '*.pb.go') $(find ./api -name '*.pb.go'); do
		diff -u "$f" "$tmp/new/$f" || { echo "$f is not up to date: make generate" >&2; exit 1; }
	done
	echo "the protocol is well-formed and compatible, and the generated code is up to date"
}

install_tools
case "${1:-}" in
check) check ;;
generate) buf generate ;;
baseline) buf build --exclude-source-info -o "$BASELINE" ;;
*)
	echo "usage: $0 check | generate | baseline" >&2
	exit 2
	;;
esac
