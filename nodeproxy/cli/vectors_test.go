// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/cli"
	"sigs.k8s.io/kpng/nodeproxy/command"
)

func TestVectorsOfThisBinary(t *testing.T) {
	out, err := run(t.Context(), cli.Standard(), "vectors")
	require.NoError(t, err)
	require.Regexp(t, `^\d+ stories, (\d+) expectations: \d+ met, 0 not met, 0 skipped\n$`, out)
	out, err = run(t.Context(), cli.Standard(), "vectors --run nodeports|topology --verbose")
	require.NoError(t, err)
	require.Contains(t, out, "ok      nodeports: ")
	require.Contains(t, out, "\n2 stories, ")
	out, err = run(t.Context(), cli.Standard(), "vectors --list --run ^nodeports$")
	require.NoError(t, err)
	require.Regexp(t, `^nodeports      Node ports are served .*\n$`, out)
}

// A program that answers every probe with "none" meets some expectations, and fails others.
func TestVectorsOfProgram(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program.sh")
	require.NoError(t, os.WriteFile(program, []byte(`while read -r step; do
	case $step in
	*probe*) echo '{"outcomes":["none"]}' ;;
	*) echo '{}' ;;
	esac
done
`), 0o600))
	const story = `One client.
-- node.config --
node node-1
client pod 10.1.0.9
-- nothing.probes --
pod tcp 10.0.0.1:80 -> none
-- web (DP-01).probes --
pod tcp 10.0.0.2:80 -> 10.1.0.1:8080
-- text.state --
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one.txtar"), []byte(story), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "two.txtar"), []byte(strings.Replace(story, "none\n", "none\npod tcp 10.0.0.3:80 -> none\n", 1)), 0o600))
	out, err := runWords(t, "vectors", "--dir", dir, "--implementation", "exec:sh "+program)
	require.EqualError(t, err, "expectations are not met")
	require.Equal(t, `NOT MET one: web (DP-01)
        - pod tcp 10.0.0.2:80 -> 10.1.0.1:8080
        + pod tcp 10.0.0.2:80 -> none
FAILED  story two: nothing.probes: 1 outcomes for 2 probes
2 stories, 3 expectations: 1 met, 1 not met, 1 skipped
`, out)
}

// runWords runs a command line whose words have spaces.
func runWords(t *testing.T, words ...string) (string, error) {
	var out strings.Builder
	err := cli.Standard().Run(t.Context(), append([]string{"kpng"}, words...), &out, os.Stderr)
	return out.String(), err
}

func TestInvalidVectorsFlags(t *testing.T) {
	for line, want := range map[string]string{
		"vectors --run (":                      "--run: error parsing regexp",
		"vectors --run nothing":                `--run "nothing": no story matches`,
		"vectors --implementation x":           `--implementation "x": want exec:CMD`,
		"vectors --implementation exec:":       `want exec:CMD`,
		"vectors --timeout 0s":                 "--timeout 0s: must be positive",
		"vectors x":                            `unexpected argument "x"`,
		"vectors --dir " + t.TempDir() + "/no": "no files *.txtar",
	} {
		_, err := run(t.Context(), cli.Standard(), line)
		require.ErrorContains(t, err, want, line)
		if !strings.Contains(line, "--dir") {
			require.ErrorIs(t, err, command.ErrUsage, line)
		}
	}
}
