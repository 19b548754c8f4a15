#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Compares the exported API of the module with the last release: the last tag vX.Y.Z, or the
# one before if HEAD is a release. After a release, an incompatible change needs an entry
# [Changed API] above that release in CHANGELOG.md. Until there is a release, this compares with a recorded commit and
# reports only.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
# The last commit before the packages moved to their present paths.
FIRST=3cc21e83e4d646c90a3e5860483405f9a3dcdf68

skip() {
	echo "SKIPPED: the API is not compared: $1"
	exit 0
}

# moved prints the packages that have another path now, by the renames that git detects
# since the commit $1.
moved() {
	git diff --name-status --find-renames --diff-filter=R "$1" -- '*.go' ':!*_test.go' ':!*testdata/*' ':!*internal/*' | awk '
		{ old = $2; new = $3; sub("/[^/]*$", "", old); sub("/[^/]*$", "", new) }
		old != new { print old, new }' | sort | uniq -c | sort -k2,2 -k1,1nr |
		while read -r _ old new; do
			if [ "$old" != "${last:-}" ] && ! git cat-file -e "$1:$new" 2>/dev/null; then
				echo "- package $module/$old: moved to $module/$new"
			fi
			last=$old
		done
}

git rev-parse --quiet --verify HEAD >/dev/null 2>&1 || skip "this is not a git clone"
newest=HEAD
if git diff --quiet HEAD && [ -n "$(git tag --points-at HEAD --list 'v[0-9]*')" ]; then
	newest=HEAD^
fi
base=$(git describe --tags --abbrev=0 --match 'v[0-9]*' "$newest" 2>/dev/null || true)
released=$base
if [ -z "$base" ]; then
	base=$FIRST
	git cat-file -e "$base^{commit}" 2>/dev/null ||
		skip "this clone has no release tag and no commit $base; git fetch --tags --unshallow gets them"
fi

# shellcheck source=test/gotool.sh
. ./test/gotool.sh
go_tool apidiff golang.org/x/exp/cmd/apidiff v0.0.0-20261113113407-e3970619a1a4
apidiff=$PWD/.tools/bin/apidiff
module=$("$GO" list -m)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/old"
git archive "$base" | tar -x -C "$tmp/old"

# export_api DIRECTORY FILE writes the API of the module in DIRECTORY to FILE.
export_api() {
	(cd "$1" && "$apidiff" -m -w "$2" "$module" 2>"$tmp/log") || {
		cat "$tmp/log" >&2
		exit 1
	}
}
export_api "$tmp/old" "$tmp/old.api"
export_api . "$tmp/new.api"
"$apidiff" -m "$tmp/old.api" "$tmp/new.api" >"$tmp/all" 2>/dev/null
"$apidiff" -m -incompatible "$tmp/old.api" "$tmp/new.api" >"$tmp/incompatible" 2>/dev/null

echo "Changes of the exported API since $base:"
moved "$base"
cat "$tmp/all"
[ -s "$tmp/all" ] || echo "none"
if [ -z "$released" ]; then
	echo "There is no release yet: this is a report, and no change is an error."
elif [ -s "$tmp/incompatible" ]; then
	if awk -v base="$base" '$1 == "##" && $2 == base { exit } { print }' CHANGELOG.md | grep -q '^- \[Changed API\]'; then
		echo "CHANGELOG.md announces incompatible changes with [Changed API]."
	else
		echo "The API has incompatible changes since $base. Add an entry [Changed API] to CHANGELOG.md, or take them back." >&2
		exit 1
	fi
fi
