// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"strings"
)

// Defaults of [Config].
const (
	DefaultTable          = "kpng"
	DefaultMasqueradeMark = 0x4000
)

// Config is how a [Backend] is set up. The zero value is ready to use.
type Config struct {
	// Table is the name of the backend's tables, one for each address family. They
	// belong to the backend alone: whatever is in them is lost. Two backends in one
	// network namespace need different names. The default is "kpng".
	Table string
	// MasqueradeMark is the one bit of packet marks that the backend may use,
	// between its decision to masquerade and the masquerading. The default is
	// 0x4000.
	MasqueradeMark uint32
	// Logger receives what operators should know; nil is silent.
	Logger *slog.Logger
}

// maxTableName leaves room for names that are made from the table's.
const maxTableName = 100

// isIdentifier tells whether nft can read the name.
func isIdentifier(name string) bool {
	for i, c := range []byte(name) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		other := '0' <= c && c <= '9' || strings.IndexByte("_.-", c) >= 0
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return name != ""
}

func (c Config) withDefaults() (Config, error) {
	if c.Table == "" {
		c.Table = DefaultTable
	}
	if c.MasqueradeMark == 0 {
		c.MasqueradeMark = DefaultMasqueradeMark
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if !isIdentifier(c.Table) || len(c.Table) > maxTableName {
		errs = append(errs, fmt.Errorf("nftables: Config.Table: %q must be a letter and up to 99 letters, digits, dots, dashes or underscores", c.Table))
	}
	if bits.OnesCount32(c.MasqueradeMark) != 1 {
		errs = append(errs, fmt.Errorf("nftables: Config.MasqueradeMark: %#x must be exactly one bit", c.MasqueradeMark))
	}
	return c, errors.Join(errs...)
}
