// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExitCodes(t *testing.T) {
	for _, row := range []struct {
		err    error
		code   int
		stderr string
	}{
		{nil, ExitDone, ""},
		{flag.ErrHelp, ExitDone, ""},
		{errors.New("broken"), ExitFailed, "proxy: broken\n"},
		{fmt.Errorf("%w: -x", ErrUsage), ExitUsage, "proxy: usage: -x\n"},
	} {
		var stderr strings.Builder
		require.Equal(t, row.code, ExitCode("proxy", row.err, &stderr))
		require.Equal(t, row.stderr, stderr.String())
	}
}

func flags() (*flag.FlagSet, *bool) {
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs, fs.Bool("v", false, "")
}

func TestFlagsAndArgumentsAlternate(t *testing.T) {
	fs, verbose := flags()
	positional, err := ParseMixed(fs, []string{"state", "-v", "node-1"})
	require.NoError(t, err)
	require.True(t, *verbose)
	require.Equal(t, []string{"state", "node-1"}, positional)
	_, err = ParseMixed(fs, []string{"-colour"})
	require.ErrorIs(t, err, ErrUsage)
	_, err = ParseMixed(fs, []string{"-h"})
	require.ErrorIs(t, err, flag.ErrHelp)
	require.NotErrorIs(t, err, ErrUsage)
}

func TestArgumentsAreRefused(t *testing.T) {
	fs, _ := flags()
	require.NoError(t, Parse(fs, []string{"-v"}))
	require.EqualError(t, Parse(fs, []string{"-v", "more"}), `usage: unexpected argument "more"`)
}

func TestConflictsAreListedInOrder(t *testing.T) {
	require.NoError(t, Conflicts(map[string]bool{"a": false}))
	require.EqualError(t, Conflicts(map[string]bool{"b": true, "a": true, "c": false}), "usage: a; b")
}

func TestFailureEndsAllParts(t *testing.T) {
	failed := errors.New("injected")
	err := RunAll(t.Context(),
		func(ctx context.Context) error { <-ctx.Done(); return nil },
		func(context.Context) error { return failed })
	require.ErrorIs(t, err, failed)
}

func TestSuccessEndsNoOtherPart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan struct{})
	require.NoError(t, RunAll(ctx,
		func(context.Context) error { close(first); return nil },
		func(ctx context.Context) error {
			<-first
			require.NoError(t, ctx.Err())
			cancel()
			<-ctx.Done()
			return nil
		}))
}

func TestSplitList(t *testing.T) {
	require.Equal(t, []string{"a", "b"}, SplitList(" a,, b ,"))
	require.Empty(t, SplitList(" , "))
}

func TestPrefixNamesTheFlag(t *testing.T) {
	require.NoError(t, Prefix("-health", nil))
	failed := errors.New("port in use")
	err := Prefix("-health", failed)
	require.ErrorIs(t, err, failed)
	require.EqualError(t, err, "-health: port in use")
	require.EqualError(t, ReplaceInError(errors.New("Files.CA missing"), "Files.CA", "-ca"), "-ca missing")
}
