// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documentedScripts returns the scripts of a page that are marked to be run.
func documentedScripts(t *testing.T, page string) (scripts []string) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?s)<!-- run by test/examples -->\n```sh\n(.*?)```").FindAllSubmatch(text, -1) {
		scripts = append(scripts, string(m[1]))
	}
	return scripts
}

// freePort returns a TCP port of 127.0.0.1 on which nothing listens.
func freePort(t *testing.T) string {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}

// TestDocumentedTrialWithTLS runs the commands of docs/scaling.md: certificates from
// openssl, a server, a relay, an agent and a question.
func TestDocumentedTrialWithTLS(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is missing; test/tools.sh installs it on Debian")
	}
	scripts := documentedScripts(t, "../../docs/scaling.md")
	require.Len(t, scripts, 2, "the certificates and the programs")
	dir := t.TempDir()
	certificates := exec.Command("sh", "-eu")
	certificates.Dir, certificates.Stdin = dir, strings.NewReader(scripts[0])
	out, err := certificates.CombinedOutput()
	require.NoError(t, err, string(out))

	manifests, err := filepath.Abs("../../testdata/example")
	require.NoError(t, err)
	programs := strings.NewReplacer("\\\n", " ", "../testdata/example", manifests, "10270", freePort(t), "10280", freePort(t)).Replace(scripts[1])
	programs = regexp.MustCompile(`\S+\.(crt|key)`).ReplaceAllString(programs, dir+"/$0")
	ran := map[string]bool{}
	for line := range strings.Lines(programs) {
		words := strings.Fields(line)
		require.Equal(t, "./kpng", words[0])
		args := words[1:]
		switch {
		case args[0] != "run":
			stdout, stderr, code := ask(t, args...)
			require.Zero(t, code, stderr)
			require.Regexp(t, `(?m)^node-1 +zone-a +yes`, stdout)
		case slices.Contains(args, "text"):
			kpng(t, args...).stdout.wait(t, `(?m)^\+ default/web\n`)
		default:
			kpng(t, args...).address("Serving gRPC")
		}
		source, _, _ := strings.Cut(args[2], ":")
		ran[args[0]+" "+source] = true
	}
	require.Len(t, ran, 4, "a server, a relay, an agent and a question")
}
