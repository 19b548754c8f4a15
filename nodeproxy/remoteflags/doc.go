// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package remoteflags translates the flags of clients and servers of the gRPC API into
// connections, listeners and Configs. It handles no signals and ends no process.
//
//	client.go     servers, and TLS and tokens to reach them  -> Connections
//	server.go     a whole server, with all of its flags
//	listener.go   address, TLS, and clients with their permissions
//	resolver.go   how Services are resolved                  -> nodelocal.MultiNodeConfig
//
// Errors about flags wrap command.ErrUsage and name the flag. Flags without effect are
// errors too: a server with a list of clients never serves all clients.
package remoteflags
