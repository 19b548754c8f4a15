// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command release builds the files of a release, and checks them. RELEASE.md has the steps around it.
// Its first argument is one of these:
//
//	build    builds HEAD twice and compares the results, then writes licences, SBOMs, notes and checksums
//	prepare  sets the version in the files that have it, for the pull request of a release
//	notes    prints the notes of a version, from CHANGELOG.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: release build | prepare | notes [FLAGS]")
	}
	fs := flag.NewFlagSet("release "+args[0], flag.ContinueOnError)
	root := fs.String("root", ".", "directory that holds the repository")
	version := fs.String("version", "", "version as vX.Y.Z; for build, empty is a rehearsal without a version")
	out := fs.String("out", "dist", "for build: directory for the results, below root unless absolute; it is removed first")
	platforms := fs.String("platforms", "", "for build: platforms as OS/ARCH, separated by spaces or commas; empty is all")
	sbom := fs.String("sbom", "", "for build: path of cyclonedx-gomod")
	date := fs.String("date", time.Now().UTC().Format(time.DateOnly), "for prepare: date of the release")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *version != "" && !isVersion(*version) {
		return fmt.Errorf("-version: %q is not vMAJOR.MINOR.PATCH", *version)
	}
	absolute, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	switch args[0] {
	case "build":
		dist := *out
		if !filepath.IsAbs(dist) {
			dist = filepath.Join(absolute, dist)
		}
		split := func(r rune) bool { return strings.ContainsRune(", ", r) }
		return buildRelease(ctx, releaseConfig{root: absolute, version: *version, dist: dist, platforms: strings.FieldsFunc(*platforms, split), sbomTool: *sbom})
	case "prepare":
		return prepare(absolute, *version, *date)
	case "notes":
		text, err := releaseNotes(ctx, absolute, *version)
		fmt.Print(text)
		return err
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// isVersion reports whether version is one that modules are tagged with.
func isVersion(version string) bool {
	return regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`).MatchString(version)
}
