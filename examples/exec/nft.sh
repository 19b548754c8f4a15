#!/usr/bin/env bash
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# A service proxy in bash and jq: the table kpng-exec of nftables, written anew at each update, as
# small as it can be. It uses the first route of each frontend for all clients, and no affinity.
# usage: kpng run --from SOURCE --to 'exec:./nft.sh'
# test, as root: kpng test --packets --sink 'exec:./nft.sh' --run 'DP-01|DP-04|DP-16'
jq --unbuffered -nj '
	def name: .origin + ":" + .namespace + "/" + .name;
	def removed: if contains(":") then . else ":" + . end;
	def family: if contains(":") then "ip6" else "ip" end;
	def protocol: .protocol | ltrimstr("PROTOCOL_") | ascii_downcase;
	def match(p): (if .kind == "FRONTEND_KIND_NODE_PORT" then "meta nfproto \(if .address | contains(":") then "ipv6" else "ipv4" end) fib daddr type local"
		else "\(.address | family) daddr \(.address)" end) + " \(p) dport \(.port)";
	def targets: [.endpoints[] | . as $e | range($e.weight) | "\($e.address) . \($e.port)"];
	def rules(chain): .[] | .ports[] | . as $port | protocol as $p | .frontends[] | match($p) as $match | .routes[0] as $route
		| ($port.pools[$route.pool] // {endpoints: []} | targets) as $to
		| if chain == "nat" and ($to | length) > 0 then
			"\($match) \(if $route.masquerade then "meta mark set 0x4000 " else "" end)dnat \(.address | family) addr . port to numgen random mod \($to | length) map { \($to | to_entries | map("\(.key) : \(.value)") | join(", ")) }"
		elif chain == "refuse" and ($to | length) == 0 and $route.emptyVerdict != "VERDICT_PASS" then
			"\($match) \(if $route.emptyVerdict == "VERDICT_DROP" then "drop" elif $p == "tcp" then "reject with tcp reset" else "reject" end)"
		else empty end;
	foreach inputs as $update ({}; (if $update.full then {} else . end)
		+ ($update.changed | map({(name): .}) | add // {}) | delpaths($update.removed | map([removed]));
		"add table inet kpng-exec; delete table inet kpng-exec; table inet kpng-exec {
			chain refuse {
				\([values[]] | [rules("refuse")] | join("\n"))
			}
			chain services {
				\([values[]] | [rules("nat")] | join("\n"))
			}
			chain prerouting { type nat hook prerouting priority dstnat; jump services; }
			chain output { type nat hook output priority -100; jump services; }
			chain input-filter { type filter hook input priority filter; ct state new jump refuse; }
			chain forward-filter { type filter hook forward priority filter; ct state new jump refuse; }
			chain output-filter { type filter hook output priority filter; ct state new jump refuse; }
			chain postrouting { type nat hook postrouting priority srcnat; meta mark 0x4000 masquerade; }
		}\u0000\($update.revision)\u0000")' |
	while IFS= read -r -d '' ruleset && IFS= read -r -d '' revision; do
		if error=$(nft -f - <<<"$ruleset" 2>&1); then
			echo "{\"ok\":$revision}"
		else
			jq -cn --arg error "$error" '{$error}'
		fi
	done
