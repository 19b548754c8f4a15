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

// TokensConfig is how to have bearer tokens reviewed.
type TokensConfig struct {
	// Audiences are who a token must be meant for: one of them. There must be one, or
	// a token for the API server would be taken, with which this server could act as
	// its peer.
	Audiences []string
	// MaxAge is how long a token makes an identity at most, however long the token
	// itself is good, so that a revoked one is found out; 0 is an hour. Up to a tenth
	// less is taken, for peers that came together not to return together.
	MaxAge time.Duration
	// AcceptedFor and RejectedTTL are how long a review stands; 0 is two minutes, and
	// ten seconds.
	AcceptedTTL, RejectedTTL time.Duration
	// AcceptedSize and MaxRejected are how many of either are remembered; 0 is 10,000
	// and 1,000. Refusals never push out acceptances.
	MaxAccepted, MaxRejected int
	// Reviews is how many reviews are asked for at once, and MaxReviewsPerAddress how
	// many for peers with one IP address; 0 is 32 and 4. The others wait.
	MaxReviews, MaxReviewsPerAddress int
	// Timeout is how long a review may take; 0 is ten seconds.
	Timeout time.Duration
	// Logger tells when tokens cannot be reviewed, and, at level debug, why tokens are
	// refused. nil is silent.
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

// Tokens know a peer by the bearer token in a call's "authorization". They remember
// tokens by their hash, and have one token reviewed once at a time. The node is that
// of "system:node:NAME" in "system:nodes", or the one that a service account token is
// bound to.
type Tokens struct {
	review TokenReviewer
	cfg TokensConfig
	slots  *reviewSlots

	mu       sync.Mutex
	accepted *cache[Identity]
	rejected  *cache[struct{}]
	pending  map[tokenKey]*pendingReview
	unavailableSince     time.Time // since when tokens cannot be reviewed; zero if they can
}

type tokenKey [sha256.Size]byte

// A pendingReview is a review that is going on. It is that of the first who asked; who comes
// later waits, and asks anew if the first gave up.
type pendingReview struct {
	done     chan struct{}
	abandoned   bool
	identity Identity
	err      error
}

// NewTokens returns an authenticator of tokens.
func NewTokens(review TokenReviewer, config TokensConfig) (*Tokens, error) {
	if len(config.Audiences) == 0 {
		return nil, errors.New("transport: TokensConfig.Audiences is empty; name who a token must be meant for")
	}
	config.setDefaults()
	return &Tokens{
		review: review, cfg: config, slots: newReviewSlots(config.MaxReviews, config.MaxReviewsPerAddress),
		accepted: newCache[Identity](config.MaxAccepted), rejected: newCache[struct{}](config.MaxRejected),
		pending: map[tokenKey]*pendingReview{},
	}, nil
}

// Authenticate is an [Authenticator].
func (t *Tokens) Authenticate(ctx context.Context) (Identity, error) {
	token, err := bearer(ctx)
	if err != nil {
		return Identity{}, err
	}
	key := tokenKey(sha256.Sum256([]byte(token)))
	for {
		f, known, mine := t.lookup(key)
		switch {
		case known != nil:
			return known.identity, known.err
		case mine:
			t.runReview(ctx, f, key, token)
			return f.identity, f.err
		}
		select {
		case <-ctx.Done():
			return Identity{}, status.FromContextError(ctx.Err()).Err()
		case <-f.done:
			if !f.abandoned {
				return f.identity, f.err
			}
		}
	}
}

// lookup returns what is remembered of a token, or else the flight that will tell, and
// whether the caller is to lead it.
func (t *Tokens) lookup(key tokenKey) (f, known *pendingReview, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if identity, ok := t.accepted.get(key, now); ok {
		return nil, &pendingReview{identity: identity}, false
	}
	if _, ok := t.rejected.get(key, now); ok {
		return nil, &pendingReview{err: errTokenRejected()}, false
	}
	if f := t.pending[key]; f != nil {
		return f, nil, false
	}
	f = &pendingReview{done: make(chan struct{}), abandoned: true}
	t.pending[key] = f
	return f, nil, true
}

func errTokenRejected() error { return errUnauthenticated("the bearer token is not accepted") }

// runReview has a token reviewed, and tells all that wait for it.
func (t *Tokens) runReview(ctx context.Context, f *pendingReview, key tokenKey, token string) {
	defer func() {
		t.mu.Lock()
		delete(t.pending, key)
		t.mu.Unlock()
		close(f.done)
	}()
	review, err := t.requestReview(ctx, token)
	if err != nil && ctx.Err() != nil { // says nothing about the token, nor about the reviewer
		f.err = status.FromContextError(ctx.Err()).Err()
		return
	}
	f.abandoned = false
	t.logAvailability(ctx, err)
	if err != nil {
		f.err = errUnavailable("the bearer token cannot be reviewed now")
		return
	}
	f.identity, f.err = t.decide(ctx, key, token, review)
}

// requestReview takes its turn and has a token reviewed.
func (t *Tokens) requestReview(ctx context.Context, token string) (TokenReview, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	p, ok := peer.FromContext(ctx)
	if !ok {
		p = &peer.Peer{}
	}
	release, err := t.slots.take(ctx, ipOf(p.Addr))
	if err != nil {
		return TokenReview{}, fmt.Errorf("too many reviews are going on: %w", err)
	}
	defer release()
	return t.review(ctx, token, t.cfg.Audiences)
}

// decide makes an identity of a review, and remembers it.
func (t *Tokens) decide(ctx context.Context, key tokenKey, token string, review TokenReview) (Identity, error) {
	now := time.Now()
	if reason := t.objection(review); reason != "" {
		t.cfg.Logger.DebugContext(ctx, "token refused", "name", review.Name, "reason", reason)
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

// objection says why a review does not do, or nothing.
func (t *Tokens) objection(r TokenReview) string {
	switch {
	case !r.Authenticated && r.Reason != "":
		return r.Reason
	case !r.Authenticated:
		return "not authenticated"
	case r.Name == "":
		return "the token is nobody's"
	case !slices.ContainsFunc(t.cfg.Audiences, func(a string) bool { return slices.Contains(r.Audiences, a) }):
		return fmt.Sprintf("the token is meant for %q, not for %q", r.Audiences, t.cfg.Audiences)
	}
	return ""
}

// logAvailability logs when reviews begin to fail, and when they no longer do.
func (t *Tokens) logAvailability(ctx context.Context, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil && t.unavailableSince.IsZero():
		t.unavailableSince = time.Now()
		t.cfg.Logger.WarnContext(ctx, "cannot review tokens; peers without a remembered one are turned away", "err", err)
	case err == nil && !t.unavailableSince.IsZero():
		t.cfg.Logger.InfoContext(ctx, "tokens can be reviewed again", "after", time.Since(t.unavailableSince))
		t.unavailableSince = time.Time{}
	}
}

// errUnavailable returns the error for a peer that may try again.
func errUnavailable(format string, args ...any) error {
	return status.Errorf(codes.Unavailable, format, args...)
}
