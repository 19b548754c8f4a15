#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Downloads the nft of each Debian suite below, with its libraries and its C library, and prints
# the directory that holds them: DIR/SUITE/nft runs that version. Nothing of the system
# changes: apt-get works in a root of its own and checks Debian's signatures. A suite that is
# present already is not downloaded again.
# usage: nft-versions.sh [DIR]   the default is ~/.cache/kpng-test/nft
set -eu
dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kpng-test/nft}
suites="bullseye bookworm trixie sid"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
arch=$(dpkg --print-architecture)

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
		APT::Architecture "$arch"; APT::Architectures { "$arch"; };
		APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";
	CONF
	APT_CONFIG="$root/apt.conf"
	export APT_CONFIG
	apt-get update -qq
	packages="nftables libnftables1 libnftnl11 libmnl0 libjansson4 libedit2 libgmp10 libxtables12 libtinfo6 libbsd0 libmd0 libc6"
	# A suite has one of these two.
	for p in libreadline8 libreadline8t64; do
		case $(apt-cache policy "$p") in *"Candidate: "[0-9]*) packages="$packages $p" ;; esac
	done
	# shellcheck disable=SC2086
	(cd "$root/debs" && apt-get download -qq $packages)
	for deb in "$root/debs"/*.deb; do
		dpkg-deb --extract "$deb" "$dir/.new-$1"
	done
	cat >"$dir/.new-$1/run" <<-'RUN'
		#!/bin/sh
		# Runs nft with the libraries beside it, not those of the system.
		here=$(dirname "$(readlink -f "$0")")
		loader=$(find "$here" -name 'ld-linux*.so.*' | head -n 1)
		libs=$(find "$here" -name 'lib*.so.*' -exec dirname {} + | sort -u | tr '\n' ':')
		exec "$loader" --library-path "$libs" "$(find "$here" -path '*/sbin/nft' | head -n 1)" "$@"
	RUN
	chmod +x "$dir/.new-$1/run"
	ln -s run "$dir/.new-$1/nft"
	"$dir/.new-$1/nft" --version >&2
	rm -rf "$root" "${dir:?}/$1"
	mv "$dir/.new-$1" "$dir/$1"
}

for suite in $suites; do
	[ -x "$dir/$suite/nft" ] || install "$suite"
done
echo "$dir"
