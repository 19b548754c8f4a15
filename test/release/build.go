// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildFlags returns the flags of go build for released programs: no paths of the machine, and the
// version from the tag of the commit.
func buildFlags() []string {
	return []string{"-trimpath", "-buildvcs=true", "-ldflags=-s -w"}
}

// cloneAt clones the repository in root into dir, without a shared object store, and checks HEAD out.
// With a version, the clone has its tags, whether or not root has them.
func cloneAt(ctx context.Context, root, dir, version string) error {
	head, err := output(ctx, root, nil, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if _, err := output(ctx, root, nil, "git", "clone", "--quiet", "--no-hardlinks", "--no-checkout", root, dir); err != nil {
		return err
	}
	commit := strings.TrimSpace(string(head))
	if _, err := output(ctx, dir, nil, "git", "checkout", "--quiet", "--detach", commit); err != nil {
		return err
	}
	if version == "" {
		return nil
	}
	for _, tag := range tags(version) {
		// A tag of another commit is a mistake: released versions never change.
		at, err := output(ctx, dir, nil, "git", "rev-parse", "--quiet", "--verify", tag+"^{commit}")
		if err == nil && strings.TrimSpace(string(at)) != commit {
			return fmt.Errorf("tag %s is at another commit than HEAD (%s)", tag, commit)
		}
		if err != nil {
			if _, err := output(ctx, dir, nil, "git", "tag", tag, commit); err != nil {
				return err
			}
		}
	}
	return nil
}

// buildAll builds the programs from the clone in source into out. cache is the directory of the build
// cache, empty for that of the user.
func buildAll(ctx context.Context, builds []build, source, out, cache string, flags []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, b := range builds {
		env := []string{"CGO_ENABLED=0", "GOOS=" + b.goos, "GOARCH=" + b.goarch, "GOWORK=off"}
		if cache != "" {
			env = append(env, "GOCACHE="+cache)
		}
		args := append([]string{"go", "build"}, flags...)
		args = append(args, "-o", filepath.Join(out, b.file()), b.pkg)
		if _, err := output(ctx, filepath.Join(source, filepath.FromSlash(b.module)), env, args...); err != nil {
			return fmt.Errorf("%s: %w", b, err)
		}
	}
	return nil
}

// checkVersion checks that the program in file was built from an unmodified commit and reports version.
func checkVersion(file, version string) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.modified" && s.Value != "false" {
			return fmt.Errorf("%s: built from modified files", file)
		}
	}
	if version != "" && info.Main.Version != version {
		return fmt.Errorf("%s: reports version %q, want %q", file, info.Main.Version, version)
	}
	return nil
}

// output runs a command in dir with additional variables and returns its standard output.
func output(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Dir = dir
	command.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out, nil
}
