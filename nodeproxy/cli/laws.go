// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/remote/execsink"
)

// testDirectory is the variable with a directory for the output of the program under test.
const testDirectory = "KPNG_TEST_DIR"

// testFlags are the flags of kpng test.
type testFlags struct {
	sink, describe, run string
	packets, proxy      bool
	unsupported         []string
	report              string
	verbose             bool
}

// testCommand returns kpng test.
func testCommand(stderr io.Writer) *cobra.Command {
	f := &testFlags{}
	cmd := &cobra.Command{
		Use:   "test --sink exec:CMD",
		Short: "Check a sink in any language against the laws of sinks",
		Long: `Runs a program as a sink, with many generated states, and checks the laws that hold for every sink: what
it has programmed depends only on the last update that it has acknowledged.

The program is started many times, each time with an empty directory in the variable ` + testDirectory + `. The
command of --describe prints what the program has programmed; without it, that are the files in the
directory.

With --packets, as root on Linux, it runs the packet kit instead: the program programs the network
namespace of a node, and the kit connects from pods, other nodes and clients to its Services, and
compares the answers with the contract. docs/conformance.md lists the behaviours, by whose IDs --run
selects.`,
		Example: `  kpng test --sink 'exec:./sink.sh "$KPNG_TEST_DIR"'
  kpng test --sink exec:./sink --describe 'cat "$KPNG_TEST_DIR"/rules' --run 'CutOff|Weights'
  kpng test --packets --sink exec:./nft.sh --run 'DP-01|DP-04|DP-16' --report table`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return f.test(stderr) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.sink, "sink", "", "`sink` to check: exec:CMD")
	flags.StringVar(&f.describe, "describe", "", "`command` that prints what the program has programmed")
	flags.StringVar(&f.run, "run", "", "regular `expression`: check only laws whose names match, or behaviours whose IDs do")
	flags.BoolVar(&f.packets, "packets", false, "run the packet kit instead of the laws (root, Linux)")
	flags.BoolVar(&f.proxy, "proxy", false, "with --packets: connections end in a process of the node, which connects to endpoints")
	flags.StringSliceVar(&f.unsupported, "unsupported", nil, "with --packets: `features` (comma-separated) that the program does not support: "+
		strings.Join(featureNames(), ", "))
	flags.StringVar(&f.report, "report", "", "with --packets: print a report as `format`: table, json or markdown")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "list all laws, not only violated ones")
	return cmd
}

// test checks the laws and ends the process, because package testing does: with exit code 0 if all
// hold, and 1 otherwise. The results go to the standard output of the process.
func (f *testFlags) test(stderr io.Writer) error {
	program, found := strings.CutPrefix(f.sink, "exec:")
	if !found || program == "" {
		return usagef("--sink %q: want exec:CMD", f.sink)
	}
	if _, err := regexp.Compile(f.run); err != nil {
		return usagef("--run: %w", err)
	}
	tests, err := f.tests(program, stderr)
	if err != nil {
		return err
	}
	testing.Init() // the flags of package testing are those of the process
	words := []string{fmt.Sprintf("-test.v=%t", f.verbose), "-test.run=^(" + tests.Name + ")$/" + tests.filter}
	if err := flag.CommandLine.Parse(words); err != nil {
		return err
	}
	testing.Main(regexp.MatchString, []testing.InternalTest{tests.InternalTest}, nil, nil)
	return nil
}

// A selection is a test with the expression for the names of its subtests.
type selection struct {
	testing.InternalTest
	filter string
}

// tests returns what the flags select.
func (f *testFlags) tests(program string, stderr io.Writer) (selection, error) {
	if !f.packets {
		if f.proxy || len(f.unsupported) > 0 || f.report != "" {
			return selection{}, usagef("--proxy, --unsupported and --report require --packets")
		}
		return selection{testing.InternalTest{Name: "Laws", F: func(t *testing.T) {
			sinktest.TestSink(t, sinktest.Harness{New: func(t *testing.T) (localsink.Sink, func() string) {
				return f.newSink(t, program, stderr)
			}})
		}}, "(" + f.run + ")"}, nil
	}
	run, err := f.packetKit(program, stderr)
	return selection{testing.InternalTest{Name: "Packets", F: run}, packetSink + "/(" + f.run + ")"}, err
}

// newSink returns a sink whose program has a directory of its own, and a function that describes
// what it has programmed.
func (f *testFlags) newSink(t *testing.T, program string, stderr io.Writer) (localsink.Sink, func() string) {
	dir := t.TempDir()
	env := []string{testDirectory + "=" + dir}
	sink, err := execsink.New(execsink.Config{Command: shell(program), Env: env, Stderr: stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() }) // returns nil
	return sink, func() string {
		text, err := f.description(t, dir, env)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

func (f *testFlags) description(t *testing.T, dir string, env []string) (string, error) {
	if f.describe != "" {
		words := shell(f.describe)
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...) //nolint:gosec // the user's command
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.Output()
		return string(out), err
	}
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		fmt.Fprintf(&b, "%s:\n%s\n", path, data)
		return err
	})
	return b.String(), err
}
