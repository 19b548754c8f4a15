// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line kpng, for a binary of one's own: sources and sinks are values of a
// [Registry], and a distributor adds some in ten lines.
//
//		func main() { os.Exit(cli.Main(cli.Standard(), mySink(), mySource())) }
//
//	  - registry.go: a [Source] and a [Sink] by name, and the [Registry] of both. sources.go and
//	    sinks.go have those of [Standard].
//	  - env.go: an [Env] is what a source or sink gets beside its argument.
//	  - main.go: [Main] and [Registry.Run]: the commands, exit codes and signals.
//	  - run.go, plan.go, group.go: kpng run, which connects sources with sinks.
//	  - readiness.go: startup taints and conditions of pods, by package readiness.
//	  - servers.go: kpng nodes, state, watch, explain, progress and lag, which ask servers.
//	  - diff.go: kpng diff, which compares two states.
//	  - laws.go, vectors.go: kpng test and kpng vectors.
//
// This package and its commands are the only user of cobra: importers of other packages compile none
// of it.
package cli
