// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// TokensConfig configures [NewTokens].
type TokensConfig struct {
	// Audiences are the accepted audiences; a token must be valid for one of them. At least
	// one is required: otherwise a token for the API server would be accepted, with which
	// this server could impersonate its peer.
	Audiences []string
	// MaxAge is the maximum lifetime of an identity, however long its token is valid, so
	// that a revoked token takes effect; 0 means 1 h. It is shortened by up to 10 % at
	// random, so that peers that connected together do not return together.
	MaxAge time.Duration
	// AcceptedTTL and RejectedTTL are how long a review is cached; 0 means 2 min and 10 s.
	AcceptedTTL, RejectedTTL time.Duration
	// MaxAccepted and MaxRejected are the sizes of the caches of accepted and rejected
	// tokens; 0 means 10,000 and 1,000. Rejected tokens never displace accepted ones.
	MaxAccepted, MaxRejected int
	// MaxReviews is the maximum number of concurrent reviews, and MaxReviewsPerAddress for
	// peers with one IP address; 0 means 32 and 4. Further reviews wait.
	MaxReviews, MaxReviewsPerAddress int
	// Timeout is the timeout of a review; 0 means 10 s.
	Timeout time.Duration
	// Logger receives, at level warn, when reviews are not possible and, at level debug, why
	// tokens are rejected. nil is silent.
	Logger *slog.Logger
}

func (c *TokensConfig) setDefaults() {
	setDefault(&c.MaxAge, time.Hour)
	setDefault(&c.AcceptedTTL, 2*time.Minute)
	setDefault(&c.RejectedTTL, 10*time.Second)
	setDefault(&c.MaxAccepted, 10_000)
	setDefault(&c.MaxRejected, 1_000)
	setDefault(&c.MaxReviews, 32)
	setDefault(&c.MaxReviewsPerAddress, 4)
	setDefault(&c.Timeout, 10*time.Second)
	c.Logger = silentIfNil(c.Logger)
}

func setDefault[T int | int32 | uint32 | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// Tokens authenticate peers by the bearer token in the "authorization" header of a call.
// They cache reviews by the hash of the token and review one token once at a time. A peer
// is bound to node NAME when it is "system:node:NAME" in "system:nodes", or to the node that
// its service account token is bound to.
type Tokens struct {
	review TokenReviewer
	cfg    TokensConfig
	slots  *reviewSlots

	mu               sync.Mutex
	accepted         *cache[Identity]
	rejected         *cache[struct{}]
	pending          map[tokenKey]*pendingReview
	unavailableSince time.Time // when reviews began to fail; zero while they succeed
}

type tokenKey [sha256.Size]byte

// A pendingReview is a review in progress. The call that started it runs it; calls with the
// same token wait for its result, and start a new one when it was abandoned.
type pendingReview struct {
	done      chan struct{}
	abandoned bool
	identity  Identity
	err       error
}

// NewTokens returns an authenticator of bearer tokens. The error names the invalid field.
func NewTokens(review TokenReviewer, cfg TokensConfig) (*Tokens, error) {
	if len(cfg.Audiences) == 0 {
		return nil, errors.New("transport: TokensConfig.Audiences: required")
	}
	cfg.setDefaults()
	return &Tokens{
		review: review, cfg: cfg, slots: newReviewSlots(cfg.MaxReviews, cfg.MaxReviewsPerAddress),
		accepted: newCache[Identity](cfg.MaxAccepted), rejected: newCache[struct{}](cfg.MaxRejected),
		pending: map[tokenKey]*pendingReview{},
	}, nil
}

// Authenticate implements [Authenticator].
func (t *Tokens) Authenticate(ctx context.Context) (Identity, error) {
	token, err := bearer(ctx)
	if err != nil {
		return Identity{}, err
	}
	key := tokenKey(sha256.Sum256([]byte(token)))
	for {
		cached, review, owner := t.lookup(key)
		switch {
		case cached != nil:
			return cached.identity, cached.err
		case owner:
			t.runReview(ctx, review, key, token)
			return review.identity, review.err
		}
		select {
		case <-ctx.Done():
			return Identity{}, status.FromContextError(ctx.Err()).Err()
		case <-review.done:
			if !review.abandoned {
				return review.identity, review.err
			}
		}
	}
}

// lookup returns the cached result of a token, or else its pending review. owner reports
// whether the caller must run that review.
func (t *Tokens) lookup(key tokenKey) (cached, review *pendingReview, owner bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if identity, ok := t.accepted.get(key, now); ok {
		return &pendingReview{identity: identity}, nil, false
	}
	if _, ok := t.rejected.get(key, now); ok {
		return &pendingReview{err: errTokenRejected()}, nil, false
	}
	if review := t.pending[key]; review != nil {
		return nil, review, false
	}
	review = &pendingReview{done: make(chan struct{}), abandoned: true}
	t.pending[key] = review
	return nil, review, true
}

func errTokenRejected() error { return errUnauthenticated("the bearer token is not accepted") }

// runReview reviews a token and wakes the calls that wait for the result.
func (t *Tokens) runReview(ctx context.Context, pending *pendingReview, key tokenKey, token string) {
	defer func() {
		t.mu.Lock()
		delete(t.pending, key)
		t.mu.Unlock()
		close(pending.done)
	}()
	review, err := t.requestReview(ctx, token)
	if err != nil && ctx.Err() != nil { // neither the token nor the reviewer is at fault
		pending.err = status.FromContextError(ctx.Err()).Err()
		return
	}
	pending.abandoned = false
	t.logAvailability(ctx, err)
	if err != nil {
		pending.err = errUnavailable("token review is not possible now")
		return
	}
	pending.identity, pending.err = t.decide(ctx, key, token, review)
}

// requestReview waits for a slot and reviews a token.
func (t *Tokens) requestReview(ctx context.Context, token string) (TokenReview, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	p, ok := peer.FromContext(ctx)
	if !ok {
		p = &peer.Peer{}
	}
	release, err := t.slots.take(ctx, ipOf(p.Addr))
	if err != nil {
		return TokenReview{}, fmt.Errorf("waiting for a review slot: %w", err)
	}
	defer release()
	return t.review(ctx, token, t.cfg.Audiences)
}

// decide converts a review into an identity or an error, and caches it.
func (t *Tokens) decide(ctx context.Context, key tokenKey, token string, review TokenReview) (Identity, error) {
	now := time.Now()
	if reason := t.objection(review); reason != "" {
		t.cfg.Logger.DebugContext(ctx, "Token rejected", "name", review.Name, "reason", reason)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.rejected.put(key, struct{}{}, now.Add(t.cfg.RejectedTTL))
		return Identity{}, errTokenRejected()
	}
	identity := review.identity()
	identity.Expires = now.Add(t.cfg.MaxAge - rand.N(t.cfg.MaxAge/10+1))
	if end := tokenExpiry(token); !end.IsZero() && end.Before(identity.Expires) {
		identity.Expires = end
	}
	until := now.Add(t.cfg.AcceptedTTL)
	if identity.Expires.Before(until) {
		until = identity.Expires
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accepted.put(key, identity, until)
	return identity, nil
}

// objection returns why a review does not identify the peer, or "".
func (t *Tokens) objection(r TokenReview) string {
	switch {
	case !r.Authenticated && r.Reason != "":
		return r.Reason
	case !r.Authenticated:
		return "not authenticated"
	case r.Name == "":
		return "the review has no user name"
	case !slices.ContainsFunc(t.cfg.Audiences, func(a string) bool { return slices.Contains(r.Audiences, a) }):
		return fmt.Sprintf("the token is for audiences %q, want one of %q", r.Audiences, t.cfg.Audiences)
	}
	return ""
}

// logAvailability logs when reviews begin to fail and when they succeed again.
func (t *Tokens) logAvailability(ctx context.Context, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil && t.unavailableSince.IsZero():
		t.unavailableSince = time.Now()
		t.cfg.Logger.WarnContext(ctx, "Token review failed, rejecting peers without a cached token", "err", err)
	case err == nil && !t.unavailableSince.IsZero():
		t.cfg.Logger.InfoContext(ctx, "Token review recovered", "duration", time.Since(t.unavailableSince))
		t.unavailableSince = time.Time{}
	}
}

// errUnavailable returns the status error of a peer that may retry.
func errUnavailable(format string, args ...any) error {
	return status.Errorf(codes.Unavailable, format, args...)
}
