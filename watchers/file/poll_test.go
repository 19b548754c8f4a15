// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

// manyFiles returns a scanner that has read n files with several objects each, some of
// them invalid.
func manyFiles(t testing.TB, n int) *scanner {
	t.Helper()
	s := newScanner(t)
	for i := range n {
		content := ""
		for j := range 3 {
			content += service(fmt.Sprintf("web-%d-%d", i, j), "10.0.0.1") + "---\n"
		}
		if i%10 == 0 {
			content += service(fmt.Sprintf("invalid-%d", i), "[]")
		}
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, fmt.Sprintf("web-%d.yaml", i)), []byte(content), 0o600))
	}
	_, err := s.set.scan(t.Context(), true)
	require.NoError(t, err)
	return s
}

// BenchmarkIdlePoll looks for changes of 4,000 files that have not changed.
func BenchmarkIdlePoll(b *testing.B) {
	s := manyFiles(b, 4000)
	b.ReportAllocs()
	for b.Loop() {
		if changed, err := s.set.scan(b.Context(), false); changed || err != nil {
			b.Fatal(changed, err)
		}
	}
}

// TestIdlePollCostsNothingPerObject compares allocations, which do not depend on the
// machine: a few per file for its metadata, and none for its objects.
func TestIdlePollCostsNothingPerObject(t *testing.T) {
	const files = 1000
	s := manyFiles(t, files)
	allocations := testing.AllocsPerRun(3, func() {
		changed, err := s.set.scan(t.Context(), false)
		require.NoError(t, err)
		require.False(t, changed)
	})
	require.LessOrEqual(t, allocations/files, 10.0, "allocations per file")

	// The cost of a poll was quadratic in the number of files.
	began := time.Now()
	_, err := s.set.scan(t.Context(), false)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 500*time.Millisecond, "a poll of 1,000 files takes about 5 ms")
}

// TestChangeOfOneFileIsNotQuadratic changes one of many files with invalid objects.
func TestChangeOfOneFileIsNotQuadratic(t *testing.T) {
	s := manyFiles(t, 2000)
	s.put("web-7.yaml", service("new", "10.0.0.7"))
	began := time.Now()
	changed, err := s.set.scan(t.Context(), true)
	require.NoError(t, err)
	require.True(t, changed)
	require.Less(t, time.Since(began), 5*time.Second, "it takes about 0.1 s")
}

func TestRunEndsDuringScan(t *testing.T) {
	s := manyFiles(t, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.set.scan(ctx, true)
	require.ErrorIs(t, err, context.Canceled)
	_, errs := s.set.merge()
	require.Len(t, errs, 1, "the end is not an error of the files")

	store := watchers.NewStore()
	require.NoError(t, mustNew(t, s.dir, Config{}).Run(ctx, store))
	require.False(t, store.Snapshot().Synced(), "files that were not read completely are not published")
}

func TestLostDirectoryKeepsItsObjects(t *testing.T) {
	const lost = ": cannot read path, keeping the last known objects: the directory has no manifests any more; an empty manifest file in it deletes the objects"
	fill := func(s *scanner) {
		s.put("a.yaml", service("a", "10.0.0.1"))
		s.put("b.yaml", service("b", "10.0.0.2"))
		s.scan()
	}
	remove := func(s *scanner, names ...string) {
		for _, name := range names {
			require.NoError(t, os.Remove(filepath.Join(s.dir, name)))
		}
	}
	t.Run("one file after the other", func(t *testing.T) {
		s := newScanner(t)
		fill(s)
		remove(s, "a.yaml")
		objects, errs := s.scan()
		require.Equal(t, []string{serviceB}, objects)
		require.Empty(t, errs)
		remove(s, "b.yaml")
		objects, errs = s.scan()
		require.Empty(t, objects, "the deletion of the last file")
		require.Empty(t, errs)
	})
	t.Run("all files at once", func(t *testing.T) {
		s := newScanner(t)
		fill(s)
		remove(s, "a.yaml", "b.yaml")
		for range 2 {
			objects, errs := s.scan()
			require.Equal(t, []string{serviceA, serviceB}, objects)
			require.Equal(t, []string{s.dir + lost}, errs)
		}
		changed, _ := s.set.scan(t.Context(), false)
		require.False(t, changed, "the warning is not repeated")
		s.put("c.yaml", service("c", "10.0.0.3"))
		objects, errs := s.scan()
		require.Equal(t, []string{serviceC}, objects, "the directory has files again")
		require.Empty(t, errs)
	})
	t.Run("empty manifest", func(t *testing.T) {
		s := newScanner(t)
		fill(s)
		remove(s, "a.yaml", "b.yaml")
		s.put("none.yaml", "")
		objects, errs := s.scan()
		require.Empty(t, objects)
		require.Empty(t, errs)
	})
	t.Run("another directory", func(t *testing.T) {
		s := newScanner(t)
		s.put("a.yaml", service("a", "10.0.0.1"))
		s.scan()
		require.NoError(t, os.Rename(s.dir, s.dir+".mounted"))
		require.NoError(t, os.Mkdir(s.dir, 0o700))
		objects, errs := s.scan()
		require.Equal(t, []string{serviceA}, objects)
		require.Equal(t, []string{s.dir + lost}, errs)
		require.NoError(t, os.Remove(s.dir))
		require.NoError(t, os.Rename(s.dir+".mounted", s.dir))
		objects, errs = s.scan()
		require.Equal(t, []string{serviceA}, objects)
		require.Empty(t, errs)
	})
	t.Run("vanished, then empty", func(t *testing.T) {
		s := newScanner(t)
		s.put("a.yaml", service("a", "10.0.0.1"))
		s.scan()
		require.NoError(t, os.RemoveAll(s.dir))
		objects, errs := s.scan()
		require.Equal(t, []string{serviceA}, objects)
		require.Len(t, errs, 1)
		require.NoError(t, os.Mkdir(s.dir, 0o700)) // may have the same inode
		objects, errs = s.scan()
		require.Equal(t, []string{serviceA}, objects)
		require.Equal(t, []string{s.dir + lost}, errs)
	})
}

func TestLinkWithoutTargetKeepsItsObjects(t *testing.T) {
	s := newScanner(t)
	target := filepath.Join(t.TempDir(), "mounted")
	require.NoError(t, os.Mkdir(target, 0o700))
	put(t, filepath.Join(target, "a.yaml"), service("a", "10.0.0.1"))
	require.NoError(t, os.Symlink(filepath.Join(target, "a.yaml"), filepath.Join(s.dir, "a.yaml")))
	s.put("b.yaml", service("b", "10.0.0.2"))
	s.scan()
	require.NoError(t, os.Rename(target, target+".old"))
	objects, errs := s.scan()
	require.Equal(t, []string{serviceA, serviceB}, objects)
	require.Equal(t, []string{"a.yaml: cannot read file, keeping its last known objects: a link to a file that does not exist"}, errs)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "a.yaml")))
	objects, errs = s.scan()
	require.Equal(t, []string{serviceB}, objects, "the link is deleted")
	require.Empty(t, errs)
}
