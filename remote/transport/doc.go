// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package transport secures and serves gRPC services: TLS with reload, identity of peers,
// permissions, limits, health and reflection. It is independent of Services.
//
// [Serve] combines the parts, which also work alone:
//
//		Certificates -> Listen --------> ServerOptions -> Guard ------------> handler: Allow
//		files, polled   address, TLS,    limits of a      identity of a peer  permission of a call
//		                connections      peer             (an Authenticator)  (an Authorizer)
//
//	  - [Certificates] reads certificate, key and CA from files and reloads them when they
//	    change (certificates.go, tls.go).
//	  - [Listen] opens a TCP or Unix socket, limits its connections, and refuses to serve
//	    plaintext on addresses that other machines can reach (listen.go, connections.go,
//	    peerconn.go, stats.go).
//	  - [ServerOptions] and [ClientOptions] set the gRPC limits of one connection;
//	    [StreamLimits] are those of one watch stream (limits.go, streamlimits.go).
//	  - A [Guard] authenticates each call with an [Authenticator], limits the calls of an
//	    identity, and ends a call when the credential expires (guard.go, calllimits.go,
//	    identity.go, socket.go, tokens.go, bearer.go).
//	  - A handler calls [Allow], which asks an [Authorizer] such as [Rules.Authorize]. A
//	    handler that does not call it sends nothing (authorize.go).
//
// Errors that peers receive are gRPC status errors: Unauthenticated when the identity is
// not established, PermissionDenied when the identity lacks the permission, Unavailable
// when that cannot be decided now.
package transport
