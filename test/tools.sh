#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need beside Go: make, certificates to fetch modules with, a C
# compiler for the race detector, Node.js for the client in another language and for the
# protocol's tools, the stock tools that tests look at the kernel with, and iptables,
# without which the real kube-proxy has but one mode.
set -eu
missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
PATH="$PATH:/usr/sbin:/sbin"
need make make
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
need gcc gcc
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
need nft nftables
need ip iproute2
need conntrack conntrack
need iptables iptables
need node nodejs
need npm npm
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "tests need these packages:$missing" >&2
	exit 0 # tests that cannot run say so themselves
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
