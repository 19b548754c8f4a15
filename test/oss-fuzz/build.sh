#!/bin/bash -eu
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# Not run yet. Compiles each fuzz target of the repository for OSS-Fuzz, in whose image this runs:
# compile_native_go_fuzzer_v2 is a command of that image. The targets are those of `make fuzz`.
root=$PWD
(cd test && go run ./fuzz -root .. -list) | while read -r module package name; do
	cd "$root/$module"
	compile_native_go_fuzzer_v2 "$package" "$name" "$(echo "${package#sigs.k8s.io/kpng/}" | tr / _)_$name"
done
