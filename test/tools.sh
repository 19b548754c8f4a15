#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that targets of the Makefile need in addition to Go. It
# first prints their names. Without apt-get or without root it only prints them. Tests also
# need the nft of other Debian suites, which nft-versions.sh keeps apart from the system.
# usage: tools.sh [test | bpf | kernels | proto | e2e | soak]   without an argument: all
set -eu
missing=""
# need COMMAND PACKAGE
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
PATH="$PATH:/usr/sbin:/sbin"

need make make
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates" # to download modules
case "${1:-all}" in
test | all)
	need gcc gcc # the race detector
	[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
	;;
esac
case "${1:-all}" in
test | test-unit | all)
	need openssl openssl # test/examples runs the commands of docs/scaling.md
	;;
esac
case "${1:-all}" in
test | all)
	need jq jq # programs of examples/exec
	need python3 python3
	need node nodejs
	need npm npm # a client of export/xds
	;;
esac
case "${1:-all}" in
test | e2e | all)
	need nft nftables # tests read the rules with the system's own tools
	need ip iproute2
	need iptables iptables # rules of kube-proxy's iptables mode
	;;
esac
case "${1:-all}" in
soak)
	need nft nftables # tests read and change the rules
	need ip iproute2
	;;
esac
case "${1:-all}" in
test | all)
	if [ "$(uname -m)" = x86_64 ]; then # a kernel with IPVS, as a process
		need linux.uml user-mode-linux
		need ipvsadm ipvsadm
		need ipset ipset
		need modprobe kmod
	fi
	;;
esac
case "${1:-all}" in
kernels | all)
	if [ "$(uname -m)" = x86_64 ]; then # kernels of Debian in emulated machines
		need qemu-system-x86_64 qemu-system-x86
		need depmod kmod
		need nft nftables
		need ip iproute2
		need iptables iptables
	fi
	;;
esac
case "${1:-all}" in
e2e | all)
	need conntrack conntrack
	need node nodejs # test/statepage opens pages in a browser
	need npm npm
	need chromium chromium
	need runc runc # containers with the privileges of the manifests
	;;
esac
case "${1:-all}" in
bpf | all)
	# The version of Debian 12, on which the committed bytecode depends.
	[ -e /usr/lib/llvm-14/bin/clang ] || missing="$missing clang-14"
	[ -e /usr/lib/llvm-14/bin/llvm-strip ] || missing="$missing llvm-14"
	;;
esac
case "${1:-all}" in
proto | e2e | all)
	need node nodejs # examples/node-client-js, and buf, which npm installs
	need npm npm
	;;
esac

# old_nft installs the versions of nft that tests of saved rulesets load with.
old_nft() {
	case "${1:-all}" in test | all) ;; *) return 0 ;; esac
	command -v dpkg >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 || return 0
	"$(dirname "$0")/nft-versions.sh" >/dev/null ||
		echo "Failed to download the nft of other Debian suites; tests that need them are skipped." >&2
}

if [ -z "$missing" ]; then
	old_nft "$@"
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "Missing, and not installed without root and apt-get:$missing. Tests that need them fail or are skipped." >&2
	exit 0
fi
echo "Installing with apt-get:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends $missing >/dev/null
old_nft "$@"
