// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package transport secures the gRPC endpoints: TLS with reload, who a peer is, and
// what it may watch; it knows no Services.
//
// A server is put together from parts that also work alone:
//
//	Certificates ─> Listen ─────> ServerOptions ─> Guard ─────────────> handler: Allow
//	files, read     who may be    what a peer      who is it            may it?
//	again           in plaintext  may cost         (an Authenticator)   (an Authorizer)
//
// [Certificates] reads certificate, key and CA again as they change. [Listen] opens a
// socket and refuses plaintext to the network. [ServerOptions] bounds what one peer
// can take from the others. A [Guard] lets in whom its [Authenticator] knows, and ends
// what outlives its credential. A handler asks [Allow] what the peer may watch, which
// an [Authorizer] decides; whatever does not ask is refused.
//
// Errors to peers are gRPC status errors: Unauthenticated if the peer did not show who
// it is, PermissionDenied if that is not enough, Unavailable if nobody can say now.
package transport
