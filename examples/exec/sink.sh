#!/usr/bin/env bash
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# A sink in bash and jq: keeps a file with each Service of the node, as JSON, in a directory.
# usage: kpng run --from SOURCE --to 'exec:./sink.sh DIRECTORY'
set -u
mkdir -p "$1" && cd "$1" || exit 1

failed=false
jq --unbuffered -r '
	def name: (if .origin == "" then "" else .origin + ":" end) + .namespace + "/" + .name;
	if .full then "clear" else empty end,
	(.node // empty | "write\tnode\t\(tojson)"),
	(.changed[] | "write\tservice-\(name | @uri)\t\(tojson)"),
	(.removed[] | "remove\tservice-\(@uri)"),
	"answer\t\(.revision)"' |
	while IFS=$'\t' read -r action name json; do
		case $action in
		clear) rm -f node service-* || failed=true ;;
		write) printf '%s\n' "$json" >"$name" || failed=true ;;
		remove) rm -f "$name" || failed=true ;;
		answer)
			if $failed; then
				echo '{"error":"cannot write the files"}' # the next line repeats the changes
			else
				echo "{\"ok\":$name}"
			fi
			failed=false
			;;
		esac
	done
