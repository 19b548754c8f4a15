// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package guest has what virtual machines for tests have in common: their first process, which
// runs a script, and how its result is read from the console. It starts no machine.
package guest

import (
	"bufio"
	_ "embed"
	"errors"
	"io"
	"strings"
)

//go:embed init.sh
var initScript []byte

// Variables of the environment of the first process.
const (
	EnvScript     = "GUEST_SCRIPT"      // path of a script for bash
	EnvModules    = "GUEST_MODULES"     // kernel modules to load before (comma-separated)
	EnvModulesDir = "GUEST_MODULES_DIR" // a directory with modules of several kernels
)

// ErrFailed means that the script in the guest failed.
var ErrFailed = errors.New("guest: the script in the guest failed")

// Init returns the first process, a script for bash.
func Init() []byte { return append([]byte(nil), initScript...) }

// ReadConsole passes each line of the console of a guest to a function, until it ends, and reports
// whether the script succeeded.
func ReadConsole(console io.Reader, line func(string)) (passed bool, err error) {
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := strings.TrimRight(lines.Text(), "\r")
		line(text)
		passed = passed || strings.HasPrefix(text, "guest: exit 0 ")
	}
	return passed, lines.Err()
}

// Quote quotes a word for the shell.
func Quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
