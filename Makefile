# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0

# The commands of this repository. `make help` lists them; .ci/run and the workflows in
# .github/ call the same targets.
GO ?= go
export CGO_ENABLED ?= 0
# Flags for `go test`, such as TESTFLAGS='-run TestName -v'.
TESTFLAGS ?=
# As root, tests that need network namespaces must not be skipped.
REQUIRE_NETNS = KPNG_REQUIRE_NETNS=$(shell test "$$(id -u)" = 0 && echo 1)
SOURCECHECK = cd test && $(GO) run ./sourcecheck -root ..

.PHONY: bpf check-bpf kernels help demo test uml test-unit bench bench-connect compare-dns lint fmt check check-headers check-sizes check-words apidiff proto generate e2e scale soak bench-report cross newer tools fuzz fuzz-corpus release release-prepare release-notes

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

demo: ## real connections through a ClusterIP and a NodePort, in a network namespace; needs only Go
	@echo "Compiling examples/quickstart (the first time also downloads its modules:"
	@echo "about a minute)."
	@$(GO) run ./examples/quickstart

# Packages in backends/, and nft-script, send packets and measure time, and disturb each other
# on small machines (DP-41 fails), so they run by themselves and one after the other. The packet
# tests of the backends run without the race detector, which makes them five times slower, and so do
# LONG_TESTS of nftables, which make thousands of changes one after the other; the other tests of these
# packages run with it. `make lint` runs vet.
PACKET_TESTS := ^Test(Conformance|BrokenBackendsFail|UnalteredBackendPasses)
LONG_TESTS := ^Test(SinkContract|StateIsIndependentOfHistory|SavedRulesetLoads)$$
test: ## all tests, with the race detector; as root also with real packets; on Debian installs what is missing
	@./test/tools.sh test
	@echo "Compiling and testing all packages with the race detector (about 20 minutes on two cores)."
	CGO_ENABLED=1 $(REQUIRE_NETNS) $(GO) test -race -vet=off -timeout 20m $(TESTFLAGS) $$($(GO) list ./... | grep -v -e /backends/ -e /nft-script)
	CGO_ENABLED=1 $(REQUIRE_NETNS) $(GO) test -race -vet=off -timeout 20m -p 1 -skip '$(PACKET_TESTS)' $(TESTFLAGS) $$($(GO) list ./backends/... ./examples/nft-script | grep -v /backends/nftables)
	CGO_ENABLED=1 $(REQUIRE_NETNS) $(GO) test -race -vet=off -timeout 20m -p 1 -skip '$(LONG_TESTS)' $(TESTFLAGS) ./backends/nftables/...
	$(REQUIRE_NETNS) $(GO) test -vet=off -timeout 20m -run '$(LONG_TESTS)' $(TESTFLAGS) ./backends/nftables
	$(REQUIRE_NETNS) $(GO) test -vet=off -timeout 20m -run '$(PACKET_TESTS)' $(TESTFLAGS) ./backends/backendtest
	cd examples/vendor && CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 10m $(TESTFLAGS) ./...
	cd examples/kube-proxy/windows && CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 10m $(TESTFLAGS) ./...
	cd export/dns && CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 10m $(TESTFLAGS) ./...
	cd export/xds && CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 10m $(TESTFLAGS) ./...
	cd test && $(GO) test -count=1 -vet=off -timeout 10m $(TESTFLAGS) ./examples

# UPDATE_CONFORMANCE=1 also writes the table in docs/conformance.md.
uml: ## all packet tests of backends/ipvs, and the mode ipvs with a real API server, on a kernel in user mode; on Debian for amd64 (about 30 minutes)
	@./test/tools.sh
	KPNG_REQUIRE_UML=1 KPNG_IPVS_BEHAVIOURS=. UPDATE_CONFORMANCE=$(UPDATE_CONFORMANCE) $(GO) test -count=1 -timeout 60m -v -run ConformanceIPVS $(TESTFLAGS) ./backends/backendtest
	cd test && KPNG_REQUIRE_UML=1 KPNG_REQUIRE_NETNS=1 $(GO) test -count=1 -timeout 40m -v -run InUserMode $(TESTFLAGS) ./e2e

# Debian's kernels: bullseye 5.10 (refused), bookworm 6.1, trixie 6.12, trixie-backports 7.3.
# KERNELFLAGS="-packages nftables,backendtest" selects other packages, -all all their tests.
KERNELS ?= bullseye,bookworm,trixie,trixie-backports
KERNELFLAGS ?=
kernels: ## tests of the backends on kernels of Debian, emulated by qemu; on Debian for amd64; KERNELS=bookworm selects
	@./test/tools.sh kernels
	PATH="$$PATH:/usr/sbin:/sbin" $(GO) run ./backends/internal/qemutest/kernels -suites $(KERNELS) $(KERNELFLAGS)

test-unit: ## tests that need only Go: no root, no C compiler, no other program; on any system
	@echo "Tests that need network namespaces or other programs are skipped; make test runs them."
	$(GO) test -short $(TESTFLAGS) ./...
	cd examples/vendor && $(GO) test $(TESTFLAGS) ./...
	cd export/dns && $(GO) test $(TESTFLAGS) ./...
	cd export/xds && $(GO) test -short $(TESTFLAGS) ./...
	cd test && $(GO) test $(TESTFLAGS) ./sourcecheck
	cd test && $(GO) test -count=1 $(TESTFLAGS) ./examples

bench: ## benchmarks; as root also those that use the kernel
	@./test/tools.sh test
	$(GO) test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./...
	cd export/xds && $(GO) test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./...

bench-connect: ## rate and latency of connections through 1, 1,000 and 10,000 Services, by backend and with kube-proxy; root only (about 5 minutes)
	@./test/tools.sh test
	cd test && CGO_ENABLED=0 $(GO) build -o ../.tools/bin/kube-proxy k8s.io/kubernetes/cmd/kube-proxy
	$(REQUIRE_NETNS) KPNG_KUBE_PROXY=$(CURDIR)/.tools/bin/kube-proxy $(GO) test -run '^$$' -bench '^BenchmarkConnect$$' -benchtime 1x -timeout 20m $(TESTFLAGS) ./backends/backendtest

compare-dns: ## memory and queries per second of export/dns and of CoreDNS with 10,000 Services of 10 endpoints (about 5 minutes; compiles CoreDNS, so lint leaves it out)
	cd export/dns/compare && KPNG_DNS_COMPARE=10000 $(GO) test -count=1 -timeout 20m -v -run Memory $(TESTFLAGS) .

lint: ## formatting, vet, golangci-lint and tidy go.mod files, of all modules; shell scripts if shellcheck is there
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	cd examples/vendor && $(GO) vet ./...
	cd examples/kube-proxy/windows && $(GO) vet ./...
	cd export/dns && $(GO) vet ./...
	cd export/xds && $(GO) vet ./...
	$(GO) mod tidy -diff
	cd test && $(GO) mod tidy -diff
	cd examples/vendor && $(GO) mod tidy -diff
	cd backends/hns/hcn && $(GO) mod tidy -diff
	cd examples/kube-proxy/windows && $(GO) mod tidy -diff
	cd export/dns && $(GO) mod tidy -diff
	cd export/xds && $(GO) mod tidy -diff
	@./test/lint.sh shell
	@./test/lint.sh run

fmt: ## format the code and correct what golangci-lint can correct
	@./test/lint.sh fmt
	@./test/lint.sh run --fix

check: ## licence headers, sizes of files and functions, and words
	$(SOURCECHECK)

check-headers: ## only the licence headers of check
	$(SOURCECHECK) headers

check-sizes: ## only the sizes of check
	$(SOURCECHECK) sizes

check-words: ## only the words of check
	$(SOURCECHECK) words

FUZZTIME ?= 30s
FUZZ ?=
fuzz: ## all fuzz targets of all modules, one after the other; FUZZTIME=5m is the time of each, FUZZ=dnssrv selects
	cd test && $(GO) run ./fuzz -root .. -time $(FUZZTIME) -run '$(FUZZ)'

# FUZZTIME=0 selects from what earlier runs have found.
fuzz-corpus: ## fuzz, then replace the committed corpora by the inputs that cover most code
	cd test && $(GO) run ./fuzz -root .. -time $(FUZZTIME) -run '$(FUZZ)' -keep 6

# VERSION=v0.1.0 builds what a tag of that version at HEAD would be; without it, a rehearsal. PLATFORMS="linux/amd64" selects.
VERSION ?=
PLATFORMS ?=
release: ## the files of a release in dist/: programs, built twice and compared, checksums, SBOMs, licences, apidiff, notes (about 20 minutes on two cores)
	@./test/release.sh build -version '$(VERSION)' -platforms '$(PLATFORMS)'

release-prepare: ## set VERSION=vX.Y.Z in the files that have it, for the pull request of a release
	@./test/release.sh prepare -version '$(VERSION)'

release-notes: ## print the notes of VERSION from CHANGELOG.md; without VERSION, of what is unreleased
	@./test/release.sh notes -version '$(VERSION)'

apidiff: ## changes of the exported Go API since the last release
	@./test/apidiff.sh

proto: ## the protocol in api/: lint, compatibility, and whether the generated code is up to date
	@./test/tools.sh proto
	@./test/proto/proto.sh check

generate: ## generate Go code from the protocol in api/
	@./test/tools.sh proto
	@./test/proto/proto.sh generate

bpf: ## compile the eBPF programs; needs clang 14 and llvm, those of Debian 12
	@./test/tools.sh bpf
	@./test/bpf.sh generate

check-bpf: ## whether the committed bytecode is what the eBPF programs compile to
	@./test/tools.sh bpf
	@./test/bpf.sh check

# vet also compiles the tests, which CI runs on these systems.
cross: ## the module builds for other systems, its tests too
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	GOOS=windows GOARCH=amd64 $(GO) vet ./...
	GOOS=windows GOARCH=arm64 $(GO) build ./backends/hns/... ./backends/userspace
	cd export/xds && GOOS=windows GOARCH=amd64 $(GO) vet ./... && GOOS=darwin GOARCH=arm64 $(GO) build ./...
	cd backends/hns/hcn && GOOS=windows GOARCH=amd64 $(GO) vet ./...
	cd examples/kube-proxy/windows && GOOS=windows GOARCH=amd64 $(GO) vet ./... && GOOS=windows GOARCH=amd64 $(GO) build -o /dev/null . && GOOS=windows GOARCH=arm64 $(GO) build -o /dev/null .

newer: ## the module passes with newer Kubernetes libraries
	./test/newer.sh

# -count=1: these tests build programs, which the cache of test results does not see. The
# output of a failed test is long enough without that of the others; TESTFLAGS=-v prints all.
e2e: ## a real API server, examples/kube-proxy and real packets; root only; the first build takes minutes
	@./test/tools.sh e2e
	@echo "Compiling the test, and the first time etcd, kube-apiserver and kube-proxy (about 15 minutes on two cores)."
	cd test && KPNG_REQUIRE_NETNS=1 $(GO) test -count=1 -timeout 40m $(TESTFLAGS) $$($(GO) list ./... | grep -v /test/examples)

scale: ## 10,000 Services x 10 endpoints through a real API server, and the same with the real kube-proxy
	@./test/tools.sh e2e
	@echo "Compiling the test, and the first time etcd, kube-apiserver and kube-proxy; then about 6 minutes of measurements."
	cd test && KPNG_REQUIRE_NETNS=1 KPNG_SCALE=10000x10 $(GO) test -count=1 -timeout 60m -v -run Scale $(TESTFLAGS) ./...

# CI sets the variable CI. ROUNDS=n ends after n rounds instead, to replay a failure.
DURATION ?= $(if $(CI),1m,1h)
SEED ?=
ROUNDS ?=
soak: ## random changes and faults for DURATION=1h (in CI 1m), checked by an oracle; prints its seed; SEED=n replays; root only
	@./test/tools.sh soak
	@echo "Compiling the test, and the first time etcd and kube-apiserver; then $(DURATION) of changes."
	cd test && KPNG_REQUIRE_NETNS=1 KPNG_SOAK_DURATION=$(DURATION) KPNG_SOAK_SEED=$(SEED) KPNG_SOAK_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -v $(TESTFLAGS) ./soak/...

# REPORT is the page that gets the table; its directory images gets the plots. Results of earlier runs stay in .tools/bench-report.
SIZES ?= 1000 10000 44000
PROGRAMS ?=
REPORT ?= $(CURDIR)/docs/performance.md
bench-report: ## kube-proxy, the drop-in in each mode and the agent under the same load: a table and plots in docs/performance.md; SIZES="1000 10000", PROGRAMS=nftables (about an hour)
	@./test/tools.sh e2e
	@mkdir -p .tools
	cd test && KPNG_REQUIRE_NETNS=1 KPNG_REPORT='$(REPORT)' KPNG_REPORT_SIZES='$(SIZES)' KPNG_REPORT_PROGRAMS='$(PROGRAMS)' KPNG_REPORT_RESULTS='$(CURDIR)/.tools/bench-report' \
		$(GO) test -count=1 -timeout 4h -v -run '^TestReport$$' $(TESTFLAGS) ./e2e

tools: ## install all that the targets need; on Debian as root, elsewhere print what is missing
	@./test/tools.sh
