// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/cli-runtime/pkg/resource"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// kubectl returns the objects that kubectl would apply, by name, as JSON, and the error of
// its reader. Of an object that occurs twice, the last one stays.
func kubectl(t *testing.T, path string) (map[string]string, error) {
	t.Helper()
	infos, err := resource.NewLocalBuilder().Unstructured().ContinueOnError().Path(false, path).Flatten().Do().Infos()
	out := map[string]string{}
	for _, info := range infos {
		gvk := info.Object.GetObjectKind().GroupVersionKind()
		b, jsonErr := json.Marshal(info.Object)
		require.NoError(t, jsonErr)
		out[fmt.Sprintf("%s %s/%s", gvk, info.Namespace, info.Name)] = string(b)
	}
	return out, err
}

// read returns the objects that watchers/file serves of a path, by key, and its errors.
func read(t *testing.T, path string) (map[watchers.Key]watchers.Object, []*file.Error) {
	t.Helper()
	var errs []*file.Error
	w, err := file.New(path, file.Config{Filter: kubeapi.Filter{AllProxies: true}, Poll: time.Hour, OnErrors: func(e []*file.Error) { errs = e }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	store := watchers.NewStore()
	go func() { ended <- w.Run(ctx, store) }()
	snap := store.Snapshot()
	for ; !snap.Synced(); snap = store.Snapshot() {
		select {
		case <-snap.Newer():
		case err := <-ended:
			require.FailNow(t, "Run ended", "%v", err)
		}
	}
	cancel()
	require.NoError(t, <-ended)
	out := map[watchers.Key]watchers.Object{}
	for key, o := range snap.All() {
		if key.Kind != watchers.KindSynced {
			out[key] = o
		}
	}
	return out, errs
}

// TestCorpus reads the files of the corpus with both readers.
func TestCorpus(t *testing.T) {
	entries, err := os.ReadDir("testdata/corpus")
	require.NoError(t, err)
	reasons := differences()
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			path := filepath.Join("testdata/corpus", e.Name())
			difference := compare(t, path)
			if reason, ok := reasons[e.Name()]; ok {
				require.NotEmpty(t, difference, "no difference, but this one is listed: %s", reason)
				t.Logf("%s: %s", reason, difference)
				delete(reasons, e.Name())
				return
			}
			require.Empty(t, difference)
		})
	}
	require.Empty(t, reasons, "differences of files that do not exist")
}

// compare returns how the objects of the two readers differ, or "".
func compare(t *testing.T, path string) string {
	t.Helper()
	applied, kubectlErr := kubectl(t, path)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "none.yaml"), nil, 0o600))
	i := 0
	for _, object := range applied {
		i++
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", i)), []byte(object), 0o600))
	}
	want, _ := read(t, dir)
	got, errs := read(t, path)
	if kubectlErr != nil && len(errs) == 0 && len(got) <= len(want) {
		return fmt.Sprintf("only kubectl has an error: %v", kubectlErr)
	}
	var out []string
	for key, o := range got {
		switch other, ok := want[key]; {
		case !ok:
			out = append(out, fmt.Sprintf("only watchers/file serves %v (error of kubectl: %v)", key, kubectlErr))
		case describe(t, o) != describe(t, other):
			out = append(out, fmt.Sprintf("%v: watchers/file %s\nkubectl %s", key, describe(t, o), describe(t, other)))
		}
	}
	for key := range want {
		if _, ok := got[key]; !ok {
			out = append(out, fmt.Sprintf("only kubectl has %v (errors of watchers/file: %v)", key, errs))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// describe returns the content of an object without its Problems: kubectl does not have
// those of the text.
func describe(t *testing.T, object watchers.Object) string {
	t.Helper()
	b, err := json.Marshal(object)
	require.NoError(t, err)
	fields := map[string]any{}
	require.NoError(t, json.Unmarshal(b, &fields))
	require.Contains(t, fields, "Problems")
	delete(fields, "Problems")
	b, err = json.Marshal(fields)
	require.NoError(t, err)
	return string(b)
}

// TestGeneratedFiles compares generated files. watchers/file serves every object of them.
func TestGeneratedFiles(t *testing.T) {
	const files = 400
	same, different := 0, map[string]int{}
	for seed := range uint64(files) {
		g := generate(rand.New(rand.NewPCG(seed, 11)))
		path := filepath.Join(t.TempDir(), "f"+g.extension)
		require.NoError(t, os.WriteFile(path, g.content, 0o600))
		got, errs := read(t, path)
		require.Empty(t, errs, "seed %d: %q", seed, g.content)
		var names []string
		for key := range got {
			names = append(names, cmp.Or(key.Slice, key.Name))
		}
		slices.Sort(names)
		slices.Sort(g.names)
		require.Equal(t, g.names, names, "seed %d: %q", seed, g.content)
		difference := compare(t, path)
		if difference == "" {
			same++
			continue
		}
		require.NotEmpty(t, g.forms, "seed %d: a difference without a reason: %s\n%q", seed, difference, g.content)
		for form := range g.forms {
			different[form]++
		}
	}
	t.Logf("%d of %d files give the same objects; files with a difference by form: %v", same, files, different)
	require.Greater(t, same, files/3)
}

// TestDifferencesAreDocumented checks that the documentation lists each reason.
func TestDifferencesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/manifests.md")
	require.NoError(t, err)
	documented := strings.Join(strings.Fields(string(text)), " ")
	for name, reason := range differences() {
		require.Contains(t, documented, reason, name)
	}
}
