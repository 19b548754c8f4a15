// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A releaseConfig is what to build, and where.
type releaseConfig struct {
	root      string   // the repository
	version   string   // empty: a rehearsal, programs report a pseudo-version
	dist      string   // the results
	platforms []string // none: all
	sbomTool  string   // cyclonedx-gomod
}

// buildRelease builds HEAD of the repository twice, in two clones, the second time with an empty build
// cache. It fails if a byte differs or a licence is not allowed, and leaves nothing in cfg.dist then.
func buildRelease(ctx context.Context, cfg releaseConfig) (err error) {
	builds, err := selectBuilds(products(), cfg.platforms)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(cfg.dist); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "kpng-release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := warnOfChanges(ctx, cfg.root); err != nil {
		return err
	}
	source := filepath.Join(tmp, "first")
	results := filepath.Join(tmp, "results")
	if err := buildTwice(ctx, cfg, builds, tmp, source, results); err != nil {
		return err
	}
	fmt.Println("Checking licences")
	dependencies, err := findDependencies(ctx, builds, source)
	if err != nil {
		return err
	}
	identify, err := newIdentifier()
	if err != nil {
		return err
	}
	all, err := checkLicenses(dependencies, allowedLicenses(), identify)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(results, thirdPartyFile), []byte(thirdParty(all)), 0o644); err != nil {
		return err
	}
	fmt.Println("Describing the programs with cyclonedx-gomod")
	for _, b := range builds {
		file := filepath.Join(results, b.file())
		if err := writeSBOM(ctx, cfg.sbomTool, file, cfg.version, file+".cdx.json", all); err != nil {
			return err
		}
	}
	if err := finish(ctx, cfg, builds, source, results); err != nil {
		return err
	}
	return moveResults(results, cfg.dist)
}

// buildTwice writes the programs to results and returns an error if a second build differs.
func buildTwice(ctx context.Context, cfg releaseConfig, builds []build, tmp, source, results string) error {
	again := filepath.Join(tmp, "second", "in-another-directory")
	for _, dir := range []string{source, again} {
		if err := cloneAt(ctx, cfg.root, dir, cfg.version); err != nil {
			return err
		}
	}
	start := time.Now()
	fmt.Printf("Building %d programs\n", len(builds))
	if err := buildAll(ctx, builds, source, results, "", buildFlags()); err != nil {
		return err
	}
	fmt.Printf("Building them again in another directory, with an empty build cache (the first build took %.0f s)\n", time.Since(start).Seconds())
	secondResults := filepath.Join(tmp, "second-results")
	if err := buildAll(ctx, builds, again, secondResults, filepath.Join(tmp, "cache"), buildFlags()); err != nil {
		return err
	}
	if err := compareDirs(results, secondResults); err != nil {
		return fmt.Errorf("the build is not reproducible:\n%w", err)
	}
	fmt.Printf("Both builds are equal: %d programs, %.0f s\n", len(builds), time.Since(start).Seconds())
	for _, b := range builds {
		if err := checkVersion(filepath.Join(results, b.file()), cfg.version); err != nil {
			return err
		}
	}
	return nil
}

// finish writes archives, the report of apidiff, the notes, a description of the build and the checksums.
func finish(ctx context.Context, cfg releaseConfig, builds []build, source, results string) error {
	stamp, err := output(ctx, source, nil, "git", "show", "--no-patch", "--format=%H %ct", "HEAD")
	if err != nil {
		return err
	}
	commit, seconds, _ := strings.Cut(strings.TrimSpace(string(stamp)), " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return err
	}
	for _, b := range builds {
		if b.archive == "" {
			continue
		}
		err := writeArchive(filepath.Join(results, b.archiveFile()), []archivedFile{
			{name: b.programName(), path: filepath.Join(results, b.file()), mode: 0o755},
			{name: "LICENSE", path: filepath.Join(source, "LICENSE"), mode: 0o644},
			{name: thirdPartyFile, path: filepath.Join(results, thirdPartyFile), mode: 0o644},
		}, time.Unix(unix, 0))
		if err != nil {
			return err
		}
	}
	fmt.Println("Comparing the Go API with the last release")
	api, err := output(ctx, cfg.root, nil, "./test/apidiff.sh")
	if err != nil {
		return err
	}
	notes, err := releaseNotes(ctx, source, cfg.version)
	if err != nil {
		return err
	}
	goVersion, err := output(ctx, source, nil, "go", "version")
	if err != nil {
		return err
	}
	description := fmt.Sprintf("version: %s\ncommit: %s\n%sflags: CGO_ENABLED=0 go build %s\n", cfg.version, commit, goVersion, strings.Join(buildFlags(), " "))
	for name, text := range map[string]string{"apidiff.txt": string(api), "notes.md": notes, "BUILD.txt": description} {
		if err := os.WriteFile(filepath.Join(results, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return writeChecksums(results)
}

// warnOfChanges prints a warning if the working tree has changes, which are not part of a release.
func warnOfChanges(ctx context.Context, root string) error {
	status, err := output(ctx, root, nil, "git", "status", "--porcelain")
	if err == nil && len(status) > 0 {
		fmt.Println("Warning: uncommitted changes are not part of the build, which is of HEAD")
	}
	return err
}

// moveResults copies the files of results to a new directory dist, which may be on another file system.
func moveResults(results, dist string) error {
	if err := os.CopyFS(dist, os.DirFS(results)); err != nil {
		return err
	}
	fmt.Println("Written to", dist)
	return nil
}
