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

// A TokenReview is what is known of a token.
type TokenReview struct {
	// Authenticated says that the token is good; all else is of a good one.
	Authenticated bool
	Name          string
	Groups        []string
	// Audiences are those of the ones that were asked for which the token is meant for.
	Audiences []string
	Extra     map[string][]string
	// Reason says, for the log, why a token is not good.
	Reason string
}

// A TokenReviewer asks whoever issued a token whether it is good for one of the
// audiences. An error says that this cannot be known now. It heeds ctx.
type TokenReviewer func(ctx context.Context, token string, audiences []string) (TokenReview, error)

// nodeNameKey is where Kubernetes says which node a service account token is bound
// to: that of the pod it was made for.
const nodeNameKey = "authentication.kubernetes.io/node-name"

// identity returns whose token was reviewed.
func (r TokenReview) identity() Identity {
	i := Identity{Name: r.Name, Groups: r.Groups, Node: nodeOf(r.Name, r.Groups)}
	if names := r.Extra[nodeNameKey]; strings.HasPrefix(r.Name, serviceAccountPrefix) && len(names) == 1 {
		i.Node = names[0]
	}
	return i
}

// maxToken is more than any token has, and what one may be bothered with.
const maxToken = 8 << 10

// bearer returns the token that a call comes with.
func bearer(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	switch values := md.Get("authorization"); len(values) {
	case 0:
		return "", ErrNoCredentials
	case 1:
		return parseBearer(values[0])
	default:
		return "", errUnauthenticated("there is more than one authorization")
	}
}

// parseBearer reads "Bearer TOKEN" as in RFC 6750. What cannot be a token is not worth
// a review.
func parseBearer(value string) (string, error) {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errUnauthenticated("the authorization is no bearer token")
	}
	token = strings.TrimLeft(token, " ")
	if len(token) > maxToken {
		return "", errUnauthenticated("the bearer token has %d bytes, and %d are allowed", len(token), maxToken)
	}
	if body := strings.TrimRight(token, "="); body == "" || strings.ContainsFunc(body, notOfToken) {
		return "", errUnauthenticated("the bearer token is malformed")
	}
	return token, nil
}

func notOfToken(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r))
}

// tokenExpiry returns when a token expires by its own words, if it is a JWT that says
// so. They are to be believed of a token that was found good, for they are signed.
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
	// Later than year 9999 is as good as never.
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 || claims.Expires > 253402300799 {
		return time.Time{}
	}
	return time.Unix(int64(math.Floor(claims.Expires)), 0)
}

// BearerTokenFile returns credentials by which a client shows the token in a file, as
// kubelet keeps it fresh for a pod. The file is read for each call: streams are few,
// and nobody has to be told of a new token. It is not shown on a connection in
// plaintext, except on a unix socket with [SocketCredentials].
func BearerTokenFile(path string) credentials.PerRPCCredentials { return tokenFile(path) }

type tokenFile string

func (f tokenFile) RequireTransportSecurity() bool { return true }

func (f tokenFile) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
		return nil, errUnavailable("the token in %s is not shown here: %v", string(f), err)
	}
	token, err := os.ReadFile(string(f))
	if err != nil {
		return nil, errUnavailable("cannot read the token: %v", err)
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, nil
}
