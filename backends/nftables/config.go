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

// A Config configures a [Backend]. The zero value is valid.
type Config struct {
	// Table is the name of the backend's tables, one for each address family. The backend
	// owns them: it removes what other programs add. Two backends in one network namespace
	// need different names. The default is DefaultTable.
	Table string
	// MasqueradeMark is the bit of packet marks that the backend uses between its decision
	// to masquerade and the masquerading. Exactly one bit must be set. The default is
	// DefaultMasqueradeMark.
	MasqueradeMark uint32
	// CountConnections makes the kernel count new connections, by frontend and by endpoint; see
	// [Backend.FrontendConnections]. It costs memory and time for each endpoint.
	CountConnections bool
	// Logger receives log messages for operators; nil disables logging.
	Logger *slog.Logger

	withoutHash bool // set if the kernel cannot compute hashes
}

// maxTableName is the maximum length of a table name in bytes. It leaves room for suffixes.
const maxTableName = 100

// isIdentifier reports whether nft accepts name as the name of an object.
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

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Table == "" {
		cfg.Table = DefaultTable
	}
	if cfg.MasqueradeMark == 0 {
		cfg.MasqueradeMark = DefaultMasqueradeMark
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if !isIdentifier(cfg.Table) || len(cfg.Table) > maxTableName {
		errs = append(errs, fmt.Errorf("nftables: Config.Table: %q must be a letter and up to 99 letters, digits, dots, dashes or underscores", cfg.Table))
	}
	if bits.OnesCount32(cfg.MasqueradeMark) != 1 {
		errs = append(errs, fmt.Errorf("nftables: Config.MasqueradeMark: %#x must be exactly one bit", cfg.MasqueradeMark))
	}
	return cfg, errors.Join(errs...)
}
