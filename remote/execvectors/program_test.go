// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execvectors_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal/vectors"
	"sigs.k8s.io/kpng/remote/execvectors"
)

// asProgram is the variable that makes the test binary a program.
const asProgram = "KPNG_TEST_VECTORS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if err := serve(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve is the reference implementation as a program.
func serve(ctx context.Context) error {
	reference := vectors.NewReference()
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return reference.Close()
		}
		answer := map[string]any{}
		if outcomes, err := step(ctx, reference, line); err != nil {
			answer["error"] = err.Error()
		} else if outcomes != nil {
			answer["outcomes"] = outcomes
		}
		if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
			return err
		}
	}
}

func step(ctx context.Context, r *vectors.Reference, line []byte) ([]string, error) {
	var in struct {
		Configure, Delete, Probe *[]string
		Apply                    *[]json.RawMessage
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Configure != nil:
		return nil, r.Configure(ctx, *in.Configure)
	case in.Apply != nil:
		return nil, r.Apply(ctx, *in.Apply)
	case in.Delete != nil:
		return nil, r.Delete(ctx, *in.Delete)
	case in.Probe != nil:
		return r.Probe(ctx, *in.Probe)
	}
	return nil, errors.New("unknown step")
}

func start(t *testing.T, cfg execvectors.Config) *execvectors.Program {
	p, err := execvectors.Start(cfg)
	require.NoError(t, err)
	return p
}

// The lines hold all that the stories need.
func TestProgramPassesStories(t *testing.T) {
	stories, err := vectors.Stories()
	require.NoError(t, err)
	for _, s := range stories {
		p := start(t, execvectors.Config{Command: []string{os.Args[0]}, Env: []string{asProgram + "=1"}, Stderr: os.Stderr})
		results, err := vectors.Run(t.Context(), s, p)
		require.NoError(t, err)
		require.NotEmpty(t, results)
		for _, r := range results {
			require.Empty(t, r.Difference(), "%s: %s", s.Name, r.Step.Name)
			require.Equal(t, r.Step.Kind == vectors.StepState, r.Skipped)
		}
	}
}

func TestFailuresOfPrograms(t *testing.T) {
	for script, want := range map[string]string{
		"read -r line; exit 3":                               "exit status 3",
		"read -r line; echo no; read -r line":                `answer "no": invalid character`,
		`read -r line; echo '{"error":"no memory"}'; cat`:    "no memory",
		"read -r line; sleep 100":                            "no answer within 300ms",
		"exec >&-; exit 1":                                   "exit status 1",
		`read -r line; echo '{"outcomes":["none"]}'; exit 0`: "",
	} {
		t.Run(script, func(t *testing.T) {
			p := start(t, execvectors.Config{Command: []string{"sh", "-c", script}, Timeout: 300 * time.Millisecond})
			outcomes, err := p.Probe(t.Context(), []string{"pod tcp 10.0.0.1:80"})
			require.NoError(t, p.Close())
			if want == "" {
				require.NoError(t, err)
				require.Equal(t, []string{"none"}, outcomes)
				return
			}
			require.ErrorContains(t, err, want)
		})
	}
}

func TestCancellationEndsAStep(t *testing.T) {
	p := start(t, execvectors.Config{Command: []string{"sleep", "100"}})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	require.ErrorContains(t, p.Delete(ctx, []string{"Node n"}), "interrupted")
	require.NoError(t, p.Close())
}

func TestInvalidConfig(t *testing.T) {
	_, err := execvectors.Start(execvectors.Config{Timeout: -1, Command: []string{"true"}})
	require.ErrorContains(t, err, "Timeout: -1ns is negative")
	_, err = execvectors.Start(execvectors.Config{})
	require.ErrorContains(t, err, "Command")
	_, err = execvectors.Start(execvectors.Config{Command: []string{"/nowhere/program"}})
	require.ErrorContains(t, err, "/nowhere/program")
}

func ExampleStart() {
	// A program for which no address belongs to a Service.
	const program = `while read -r step; do case $step in *probe*) echo '{"outcomes":["none"]}' ;; *) echo '{}' ;; esac; done`
	p, err := execvectors.Start(execvectors.Config{Command: []string{"sh", "-c", program}})
	if err != nil {
		fmt.Println(err)
		return
	}
	story, err := vectors.Parse("empty", bytes.TrimSpace([]byte(`
A cluster without Services.
-- node.config --
node node-1
client pod 10.1.0.9
-- nothing.probes --
pod tcp 10.0.0.1:80 -> none
`)))
	if err != nil {
		fmt.Println(err)
		return
	}
	results, err := vectors.Run(context.Background(), story, p)
	fmt.Println(results[0].Passed(), err)
	// Output: true <nil>
}
