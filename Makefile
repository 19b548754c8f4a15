# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0

# Everything that people and CI do here, by name. `make help` lists it.
GO ?= go
export CGO_ENABLED ?= 0
TESTFLAGS ?=

.PHONY: help demo test bench lint proto generate e2e scale cross tools

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: ## serve real connections in a namespace of its own; needs only Go
	$(GO) run ./examples/quickstart

test: tools ## all tests of the module, with the race detector; as root also real packets
	CGO_ENABLED=1 KPNG_REQUIRE_NETNS=$(shell test "$$(id -u)" = 0 && echo 1) $(GO) test -race -p 1 -timeout 20m $(TESTFLAGS) ./...

bench: tools ## benchmarks; as root also those against the real kernel
	$(GO) test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./...

lint: ## formatting, vet, and a tidy go.mod
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) mod tidy -diff
	cd test && $(GO) vet ./... && $(GO) mod tidy -diff

proto: ## the protocol in api/: lint, compatibility, and whether the Go code is of it
	@./test/tools.sh
	@./test/proto/proto.sh check

generate: ## compile the protocol in api/
	@./test/tools.sh
	@./test/proto/proto.sh generate

cross: ## the module builds for other systems, and with newer Kubernetes libraries
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) build ./...
	GOOS=windows GOARCH=amd64 $(GO) build ./...
	./test/newer.sh

# These build programs themselves, of which Go's cache of test results knows nothing.
e2e: tools ## a real API server, examples/kube-proxy and real packets; root only; the first build takes minutes
	cd test && KPNG_REQUIRE_NETNS=1 $(GO) test -count=1 -timeout 40m -v $(TESTFLAGS) ./...

scale: tools ## 10,000 Services x 10 endpoints through a real API server, beside the real kube-proxy
	cd test && KPNG_REQUIRE_NETNS=1 KPNG_SCALE=10000x10 $(GO) test -count=1 -timeout 60m -v -run Scale $(TESTFLAGS) ./...

tools: ## install what the tests need, on Debian as root; elsewhere say what is missing
	@./test/tools.sh
