// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command boot runs a script on a kernel in user mode that has IPVS, for tests of other modules,
// which cannot import package umltest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"sigs.k8s.io/kpng/backends/internal/umltest"
)

func main() {
	memory := flag.Int("memory", 512, "memory in MiB")
	modules := flag.String("modules", "", "kernel modules to load (comma-separated)")
	flag.Parse()
	if err := boot(*memory, *modules, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}

func boot(memory int, modules string, scripts []string) (err error) {
	if len(scripts) != 1 {
		return errors.New("usage: boot [FLAGS] SCRIPT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "umltest")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m := umltest.Machine{Script: scripts[0], Modules: strings.Split(modules, ","), Memory: memory, Dir: dir}
	return m.Boot(ctx, func(line string) { fmt.Fprintln(os.Stdout, line) })
}
