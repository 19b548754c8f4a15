#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Downloads the kernel (cloud flavour) of each Debian suite, and prints the directory that holds
# them: DIR/SUITE has boot/vmlinuz-* and lib/modules. Nothing of the system changes: apt-get works
# in a root of its own and checks Debian's signatures. A suite that is present already is not
# downloaded again; remove its directory for a newer kernel.
# usage: kernels.sh SUITE...   in $KPNG_KERNELS, or ~/.cache/kpng-test/kernels
set -eu
dir=${KPNG_KERNELS:-${XDG_CACHE_HOME:-$HOME/.cache}/kpng-test/kernels}
PATH="$PATH:/usr/sbin:/sbin"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
arch=$(dpkg --print-architecture)

# depends PACKAGE   the packages on which it depends, without versions and alternatives
depends() {
	apt-cache depends --no-recommends --no-suggests "$1" 2>/dev/null | sed -n 's/^ *|\{0,1\}Depends: \([^<>]*\)$/\1/p'
}

# install SUITE
install() {
	root="$dir/.apt-$1"
	rm -rf "$root" "$dir/.new-$1"
	mkdir -p "$root/lists/partial" "$root/archives/partial" "$root/debs" "$dir/.new-$1"
	: >"$root/status"
	echo "deb http://deb.debian.org/debian $1 main" >"$root/sources.list"
	cat >"$root/apt.conf" <<-CONF
		Dir::State "$root"; Dir::State::status "$root/status"; Dir::State::Lists "$root/lists";
		Dir::Cache "$root"; Dir::Cache::Archives "$root/archives";
		Dir::Etc::SourceList "$root/sources.list"; Dir::Etc::SourceParts "/dev/null";
		APT::Architecture "$arch"; APT::Architectures { "$arch"; }; APT::Get::AllowUnauthenticated "false";
		APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";
	CONF
	APT_CONFIG="$root/apt.conf"
	export APT_CONFIG
	apt-get update -qq
	# The metapackage depends on the image, which newer suites split into a binary and modules.
	image=$(depends "linux-image-cloud-$arch" | grep '^linux-image-' | head -n 1)
	[ -n "$image" ] || { echo "kernels.sh: $1 has no linux-image-cloud-$arch" >&2; return 1; }
	packages="$image $(depends "$image" | grep -E '^linux-(binary|modules)-' || true)"
	# shellcheck disable=SC2086
	(cd "$root/debs" && apt-get download -qq $packages)
	for deb in "$root/debs"/*.deb; do
		dpkg-deb --extract "$deb" "$dir/.new-$1"
	done
	# Newer packages have /usr/lib/modules.
	[ -d "$dir/.new-$1/lib/modules" ] || ln -s usr/lib "$dir/.new-$1/lib"
	for release in "$dir/.new-$1/lib/modules"/*; do
		depmod -b "$dir/.new-$1" "$(basename "$release")"
	done
	rm -rf "$root" "${dir:?}/$1"
	mv "$dir/.new-$1" "$dir/$1"
}

for suite in "$@"; do
	[ -d "$dir/$suite" ] || install "$suite"
done
echo "$dir"
