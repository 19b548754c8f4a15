#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Defines go_tool. Other scripts read this file with "." from the root of the repository.

# go_tool NAME PACKAGE VERSION installs a command into .tools/bin, unless that version is
# there, built by the Go in use: a linter that an older Go has built cannot read newer code.
go_tool() {
	GO=${GO:-go}
	tool=.tools/bin/$1
	if [ -x "$tool" ] && [ "$("$GO" version "$tool")" = "$tool: $("$GO" env GOVERSION)" ] &&
		"$GO" version -m "$tool" | grep -Eq "^[[:space:]]+mod[[:space:]]+[^[:space:]]+[[:space:]]+$3([[:space:]]|\$)"; then
		return 0
	fi
	echo "Installing $1 $3 into .tools/bin" >&2 # the output of callers may be kept
	mkdir -p .tools/bin
	GOOS='' GOARCH='' GOFLAGS='' GOBIN="$PWD/.tools/bin" "$GO" install "$2@$3"
}
