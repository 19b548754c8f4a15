// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"flag"
	"time"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/remote/transport"
)

// limitFlags are the flags of what clients may cost a server.
type limitFlags struct {
	total, unauthenticated, unauthenticatedPerAddress int
	authenticationTimeout, age                        time.Duration
}

func (f *limitFlags) define(fs *flag.FlagSet) {
	fs.IntVar(&f.total, "max-connections", 10_000, "maximum `number` of connections of authenticated clients")
	fs.IntVar(&f.unauthenticated, "max-unauthenticated", 1_000,
		"maximum `number` of connections without a permitted call that are older than 3 s; the oldest are closed above it")
	fs.IntVar(&f.unauthenticatedPerAddress, "max-unauthenticated-per-address", 50, "the same for one IP address")
	fs.DurationVar(&f.authenticationTimeout, "authentication-timeout", 15*time.Second,
		"maximum `time` until the first permitted call of a connection; health and reflection do not count")
	fs.DurationVar(&f.age, "max-connection-age", 10*time.Minute,
		"maximum `age` of a connection, varied by 10 %; clients reconnect, through one name or address to any replica, and resume")
}

func (f *limitFlags) validate() error {
	return command.Conflicts(map[string]bool{
		"-max-connections: must be positive":                 f.total <= 0,
		"-max-unauthenticated: must be positive":             f.unauthenticated <= 0,
		"-max-unauthenticated-per-address: must be positive": f.unauthenticatedPerAddress <= 0,
		"-authentication-timeout: must be positive":          f.authenticationTimeout <= 0,
		"-max-connection-age: must be positive":              f.age <= 0,
	})
}

func (f *limitFlags) connections() transport.ConnectionLimits {
	return transport.ConnectionLimits{
		Total: f.total, Unauthenticated: f.unauthenticated, UnauthenticatedPerAddress: f.unauthenticatedPerAddress,
		AuthenticationTimeout: f.authenticationTimeout,
	}
}
