#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Runs the linters on all modules. golangci-lint is installed into .tools, in a pinned version.
# usage: lint.sh run [FLAG ...]   golangci-lint; --fix also corrects what it can
#        lint.sh fmt              format the Go code
#        lint.sh shell            shellcheck, if it is installed
set -eu
cd "$(dirname "$0")/.."

shell() {
	if ! command -v shellcheck >/dev/null 2>&1; then
		echo "SKIPPED: the shell scripts are not checked: shellcheck is not installed"
		exit 0
	fi
	shellcheck --external-sources .ci/run test/*.sh test/*/*.sh
}

golangci() {
	# shellcheck source=test/gotool.sh
	. ./test/gotool.sh
	go_tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.15.0
	golangci=$PWD/.tools/bin/golangci-lint
	"$golangci" config verify # run ignores settings that it does not know
	status=0
	for module in . test examples/vendor export/dns export/xds; do
		echo "golangci-lint $1, module in $module"
		(cd "$module" && "$golangci" "$@" ./...) || status=1
	done
	for module in backends/hns/hcn examples/kube-proxy/windows; do
		echo "golangci-lint $1, module in $module, for Windows"
		(cd "$module" && GOOS=windows "$golangci" "$@" ./...) || status=1
	done
	exit $status
}

case "${1:-}" in
run | fmt) golangci "$@" ;;
shell) shell ;;
*)
	echo "usage: $0 run [FLAG ...] | fmt | shell" >&2
	exit 2
	;;
esac
