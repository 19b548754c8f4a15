// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxReplacements is the maximum number of attempts to change a table that other programs
// change at the same time.
const maxReplacements = 5

// removeLegacy removes chains from the tables of iptables-legacy. The kernel has no edits of
// a table, only its replacement as a whole, which is atomic for packets.
func (r Remover) removeLegacy(ctx context.Context, isIPv6 bool) (total Result, errs []error) {
	name := variantName(isIPv6, VariantLegacy)
	present, err := presentTables(isIPv6)
	if err != nil {
		return Result{}, []error{fmt.Errorf("%s: %w", name, err)}
	}
	if len(present) == 0 {
		return Result{}, nil
	}
	if strconv.IntSize != 64 {
		return Result{}, []error{fmt.Errorf("%s: a 32-bit program cannot edit its tables: run \"kube-proxy --cleanup\" of Kubernetes: %w",
			name, errors.ErrUnsupported)}
	}
	s, err := openSocket(isIPv6)
	if err != nil {
		return Result{}, []error{fmt.Errorf("%s: %w", name, err)}
	}
	defer func() {
		if err := s.close(); err != nil {
			errs = append(errs, err)
		}
	}()
	all := Names{}
	for _, table := range present {
		chains, _, err := s.read(table)
		if err != nil {
			return Result{}, []error{fmt.Errorf("%s: %w", name, err)}
		}
		for _, c := range chains {
			all[table] = append(all[table], c.name)
		}
	}
	for _, table := range present {
		if !slices.ContainsFunc(all[table], func(chain string) bool { return r.Owns(VariantLegacy, table, chain, all) }) {
			continue
		}
		result, err := r.removeFromLegacy(ctx, s, isIPv6, table, all)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: table %s: %w", name, table, err))
		}
		total.add(result)
	}
	return total, errs
}

func (r Remover) removeFromLegacy(ctx context.Context, s *socket, isIPv6 bool, table string, all Names) (result Result, err error) {
	unlock, err := lock(ctx, r.Logger)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for try := 1; ; try++ {
		result, err := r.replaceLegacy(s, isIPv6, table, all)
		// The kernel answers EAGAIN if the table has changed since it was read.
		if try == maxReplacements || !errors.Is(err, unix.EAGAIN) {
			return result, err
		}
	}
}

func (r Remover) replaceLegacy(s *socket, isIPv6 bool, table string, all Names) (Result, error) {
	chains, b, err := s.read(table)
	if err != nil {
		return Result{}, err
	}
	return r.removeFrom(isIPv6, VariantLegacy, table, all, chains, func(e edit) (string, error) {
		changed, err := b.apply(e)
		if err != nil {
			return "", err
		}
		return "", s.replace(table, b, changed)
	})
}

// presentTables returns the tables in which the kernel holds rules. To ask the kernel for
// another table would create it.
func presentTables(isIPv6 bool) (present []string, err error) {
	path := "/proc/thread-self/net/ip_tables_names"
	if isIPv6 {
		path = "/proc/thread-self/net/ip6_tables_names"
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	names := strings.Fields(string(data))
	for _, table := range tables() {
		if slices.Contains(names, table) {
			present = append(present, table)
		}
	}
	return present, err
}
