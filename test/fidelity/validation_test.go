// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lines returns the lines of a file of testdata: files.txt has lines of configuration files, or
// several in braces, and flags.txt has flags. Most of them are invalid; kube-proxy must agree on
// each.
func lines(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// wholeFiles returns files by name that differ in their head.
func wholeFiles() map[string]string {
	return map[string]string{
		"an empty file":        "",
		"no kind":              "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n",
		"another kind":         "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Pod\n",
		"another version":      "apiVersion: kubeproxy.config.k8s.io/v1beta1\nkind: KubeProxyConfiguration\n",
		"another group":        "apiVersion: v1\nkind: KubeProxyConfiguration\n",
		"no YAML":              "mode: [\n",
		"a list":               "- 1\n",
		"two documents":        fileHead + "mode: nftables\n---\n" + fileHead,
		"a document separator": "---\n" + fileHead,
		"tabs":                 fileHead + "\tmode: nftables\n",
		"JSON":                 `{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables"}`,
		"JSON and text":        `{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"} x`,
		"a byte order mark":    "\ufeff" + fileHead,
	}
}

func TestValidation(t *testing.T) {
	kubeProxy, here := build(t)
	theirs, ours := map[string]string{}, map[string]string{}
	check := func(item string, args ...string) {
		args = append(args, "--write-config-to=/dev/null")
		for path, items := range map[string]map[string]string{kubeProxy: theirs, here: ours} {
			items[item] = "accepted"
			if code, _, _ := execute(t, path, args...); code != 0 {
				items[item] = "refused"
			}
		}
	}
	for _, fields := range lines(t, "files.txt") {
		check(fields, "--config="+configFile(t, inline(fields)))
	}
	for name, text := range wholeFiles() {
		check(name, "--config="+textFile(t, text))
	}
	for _, flag := range lines(t, "flags.txt") {
		check(flag, flag)
	}
	check("--config=/nowhere", "--config=/nowhere")
	compare(t, validationTitle, theirs, ours)
}

// inline returns the fields of a flow mapping as lines.
func inline(fields string) string {
	if !strings.HasPrefix(fields, "{") {
		return fields + "\n"
	}
	var out strings.Builder
	depth, begin := 0, 1
	for i, r := range fields {
		switch {
		case strings.ContainsRune("{[", r):
			depth++
		case strings.ContainsRune("}]", r):
			depth--
		}
		if depth == 1 && r == ',' || depth == 0 {
			out.WriteString(strings.TrimSpace(fields[begin:i]) + "\n")
			begin = i + 1
		}
	}
	return out.String()
}
