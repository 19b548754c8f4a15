// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// A TokenReview is the result of a token review.
type TokenReview struct {
	// Authenticated reports whether the token is valid. The other fields but Reason are set
	// for valid tokens only.
	Authenticated bool
	Name          string
	Groups        []string
	// Audiences are the requested audiences that the token is valid for.
	Audiences []string
	Extra     map[string][]string
	// Reason is why the token is invalid; it is logged.
	Reason string
}

// A TokenReviewer reviews a token for the given audiences. An error means that the review
// is not possible now. It returns soon after ctx ends. Calls may overlap.
type TokenReviewer func(ctx context.Context, token string, audiences []string) (TokenReview, error)

// nodeNameKey is the extra field in which Kubernetes returns the node of the pod that a
// service account token is bound to.
const nodeNameKey = "authentication.kubernetes.io/node-name"

// identity returns the identity of the reviewed token.
func (r TokenReview) identity() Identity {
	i := Identity{Name: r.Name, Groups: r.Groups, Node: nodeOf(r.Name, r.Groups)}
	if names := r.Extra[nodeNameKey]; strings.HasPrefix(r.Name, serviceAccountPrefix) && len(names) == 1 {
		i.Node = names[0]
	}
	return i
}

// maxToken is the maximum length of a token in bytes; tokens of Kubernetes are shorter.
const maxToken = 8 << 10

// bearer returns the bearer token of a call.
func bearer(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	switch values := md.Get("authorization"); len(values) {
	case 0:
		return "", ErrNoCredentials
	case 1:
		return parseBearer(values[0])
	default:
		return "", errUnauthenticated("more than one authorization header")
	}
}

// parseBearer parses "Bearer TOKEN" as in RFC 6750. A malformed token is rejected without
// a review.
func parseBearer(value string) (string, error) {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errUnauthenticated("the authorization header has no bearer token")
	}
	token = strings.TrimLeft(token, " ")
	if len(token) > maxToken {
		return "", errUnauthenticated("the bearer token has %d bytes, the maximum is %d", len(token), maxToken)
	}
	if body := strings.TrimRight(token, "="); body == "" || strings.ContainsFunc(body, notOfToken) {
		return "", errUnauthenticated("the bearer token is malformed")
	}
	return token, nil
}

func notOfToken(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r))
}

// tokenExpiry returns the expiry of a JWT, or the zero time. The caller has reviewed the
// token, which verifies the signature.
func tokenExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	// A time after the year 9999 means never.
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 || claims.Expires > 253402300799 {
		return time.Time{}
	}
	return time.Unix(int64(math.Floor(claims.Expires)), 0)
}

// BearerTokenFile returns credentials that send the token in a file, which the kubelet
// renews for a pod. The file is read for each call, so a new token is used at once. The
// token is not sent over plaintext, except on a Unix socket with [SocketCredentials].
func BearerTokenFile(path string) credentials.PerRPCCredentials { return tokenFile(path) }

type tokenFile string

func (f tokenFile) RequireTransportSecurity() bool { return true }

func (f tokenFile) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
		return nil, errUnavailable("the token in %s is not sent on an insecure connection: %v", string(f), err)
	}
	token, err := os.ReadFile(string(f))
	if err != nil {
		return nil, errUnavailable("reading the token: %v", err)
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, nil
}
