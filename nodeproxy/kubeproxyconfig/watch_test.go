// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const watchedText = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

// watch loads a file and returns the result of watching it.
func watch(t *testing.T, file string) <-chan error {
	c, err := load([]string{"--config=" + file}, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.WatchFile(ctx, nil) }()
	t.Cleanup(cancel)
	return result
}

func requireChanged(t *testing.T, result <-chan error) {
	t.Helper()
	select {
	case err := <-result:
		require.ErrorIs(t, err, ErrFileChanged)
	case <-time.After(30 * time.Second):
		require.Fail(t, "the change was not noticed")
	}
}

// TestFileChangesEndTheWatch has the ways in which programs change a file. The steps
// before the last leave the content as it is, several of them with the file absent.
func TestFileChangesEndTheWatch(t *testing.T) {
	t.Parallel()
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	replace := func(path, text string) {
		write(path+".new", text)
		require.NoError(t, os.Rename(path+".new", path))
	}
	for name, change := range map[string]func(file string){
		"written":  func(file string) { write(file, watchedText+"oomScoreAdj: 1\n") },
		"appended": func(file string) { write(file, watchedText); write(file, watchedText+"#") },
		"emptied":  func(file string) { require.NoError(t, os.Truncate(file, 0)) },
		"replaced": func(file string) { replace(file, watchedText); replace(file, watchedText+"oomScoreAdj: 1\n") },
		"renamed":  func(file string) { require.NoError(t, os.Rename(file, file+".old")) },
		"removed":  func(file string) { require.NoError(t, os.Remove(file)) },
		"removed and written": func(file string) {
			require.NoError(t, os.Remove(file))
			write(file, watchedText)
			require.NoError(t, os.Chmod(file, 0o640))
			write(file, watchedText+"oomScoreAdj: 1\n")
		},
		"directory renamed": func(file string) { require.NoError(t, os.Rename(filepath.Dir(file), filepath.Dir(file)+".old")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "dir")
			require.NoError(t, os.Mkdir(dir, 0o700))
			file := filepath.Join(dir, "config")
			write(file, watchedText)
			result := watch(t, file)
			change(file)
			requireChanged(t, result)
		})
	}
}

// TestConfigMapUpdatesEndTheWatch exchanges the directory of a mounted ConfigMap as kubelet
// does: the first time with the same content.
func TestConfigMapUpdatesEndTheWatch(t *testing.T) {
	volume := t.TempDir()
	update := func(number int, text string) {
		dir := ".." + strconv.Itoa(number)
		require.NoError(t, os.Mkdir(filepath.Join(volume, dir), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(volume, dir, "config.conf"), []byte(text), 0o600))
		require.NoError(t, os.Symlink(dir, filepath.Join(volume, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")))
		require.NoError(t, os.RemoveAll(filepath.Join(volume, ".."+strconv.Itoa(number-1))))
	}
	update(1, watchedText)
	file := filepath.Join(volume, "config.conf")
	require.NoError(t, os.Symlink("..data/config.conf", file))
	result := watch(t, file)
	update(2, watchedText)
	update(3, watchedText+"oomScoreAdj: 1\n")
	requireChanged(t, result)
}

// TestWatchOfAnUnchangedFileEndsWithTheContext also checks that events without another
// content do not end the watch.
func TestWatchOfAnUnchangedFileEndsWithTheContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(watchedText), 0o600))
	c, err := load([]string{"--config=" + file}, io.Discard)
	require.NoError(t, err)
	none, err := load([]string{"--hostname-override=n"}, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*settleTime)
	defer cancel()
	result := make(chan error, 2)
	go func() { result <- c.WatchFile(ctx, nil) }()
	go func() { result <- none.WatchFile(ctx, nil) }()
	require.NoError(t, os.WriteFile(file, []byte(watchedText), 0o600))
	require.NoError(t, os.Chtimes(file, time.Now(), time.Now()))
	require.NoError(t, <-result)
	require.NoError(t, <-result)
	require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded, "neither ended before")
}

// TestChangeBeforeTheWatchIsFound changes the file between reading and watching it.
func TestChangeBeforeTheWatchIsFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(watchedText), 0o600))
	c, err := load([]string{"--config=" + file}, io.Discard)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(watchedText+"#"), 0o600))
	require.ErrorIs(t, c.WatchFile(t.Context(), nil), ErrFileChanged)
}
