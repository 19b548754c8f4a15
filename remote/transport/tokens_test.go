// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// An issuer is a fake token reviewer.
type issuer struct {
	mu      sync.Mutex
	good    map[string]TokenReview
	err     error
	hold    chan struct{} // reviews wait for it unless nil
	asked   int
	pending int
}

func (i *issuer) review(ctx context.Context, token string, audiences []string) (TokenReview, error) {
	i.mu.Lock()
	i.asked++
	i.pending++
	hold := i.hold
	i.mu.Unlock()
	defer func() { i.mu.Lock(); i.pending--; i.mu.Unlock() }()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return TokenReview{}, ctx.Err()
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.good[token], i.err
}

func (i *issuer) set(change func()) { i.mu.Lock(); defer i.mu.Unlock(); change() }

// count returns the number of reviews since the last call.
func (i *issuer) count() (n int) { i.set(func() { n, i.asked = i.asked, 0 }); return n }

func nodeReview(node string) TokenReview {
	return TokenReview{Authenticated: true, Name: "system:node:" + node, Groups: []string{"system:nodes"}, Audiences: []string{"kpng"}}
}

func agentReview() TokenReview {
	return TokenReview{Authenticated: true, Name: "system:serviceaccount:kube-system:kpng", Groups: []string{"system:serviceaccounts"},
		Audiences: []string{"kpng"}, Extra: map[string][]string{nodeNameKey: {"n1"}}}
}

func newTokens(t *testing.T, i *issuer, change func(*TokensConfig)) *Tokens {
	config := TokensConfig{Audiences: []string{"kpng"}}
	if change != nil {
		change(&config)
	}
	tokens, err := NewTokens(i.review, config)
	require.NoError(t, err)
	return tokens
}

// calling returns the context of a call from an address with an authorization header.
func calling(t *testing.T, ip string, authorization ...string) context.Context {
	ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(ip)}})
	return metadata.NewIncomingContext(ctx, metadata.MD{"authorization": authorization})
}

func TestTokenIdentity(t *testing.T) {
	other, wrong, unnamed := nodeReview("n1"), agentReview(), agentReview()
	other.Audiences = []string{"https://kubernetes.default.svc"}
	wrong.Extra = map[string][]string{nodeNameKey: {"n1", "n2"}}
	unnamed.Name = ""
	human := agentReview()
	human.Name = "jane"
	i := &issuer{good: map[string]TokenReview{"node": nodeReview("n1"), "agent": agentReview(), "other": other, "two": wrong, "human": human, "unnamed": unnamed}}
	tokens := newTokens(t, i, nil)
	for _, c := range []struct {
		header     []string
		name, node string
		code       codes.Code
		wantErr    string
	}{
		{[]string{"Bearer node"}, "system:node:n1", "n1", codes.OK, ""},
		{[]string{"bearer  agent"}, "system:serviceaccount:kube-system:kpng", "n1", codes.OK, ""},
		{[]string{"Bearer two"}, "system:serviceaccount:kube-system:kpng", "", codes.OK, ""},
		{[]string{"Bearer human"}, "jane", "", codes.OK, ""}, // only service accounts are bound to nodes
		{[]string{"Bearer other"}, "", "", codes.Unauthenticated, "not accepted"},
		{[]string{"Bearer unnamed"}, "", "", codes.Unauthenticated, "not accepted"},
		{[]string{"Bearer unknown"}, "", "", codes.Unauthenticated, "not accepted"},
		{[]string{"Basic abc"}, "", "", codes.Unauthenticated, "no bearer token"},
		{[]string{"Bearer"}, "", "", codes.Unauthenticated, "malformed"},
		{[]string{"Bearer a b"}, "", "", codes.Unauthenticated, "malformed"},
		{[]string{"Bearer " + strings.Repeat("a", maxToken+1)}, "", "", codes.Unauthenticated, "8193 bytes"},
		{[]string{"Bearer node", "Bearer agent"}, "", "", codes.Unauthenticated, "more than one"},
	} {
		identity, err := tokens.Authenticate(calling(t, "10.0.0.1", c.header...))
		require.Equal(t, c.code, status.Code(err), "%q: %v", c.header, err)
		if c.wantErr != "" {
			require.ErrorContains(t, err, c.wantErr)
		}
		require.Equal(t, c.name, identity.Name, "%q", c.header)
		require.Equal(t, c.node, identity.Node, "%q", c.header)
	}
	_, err := tokens.Authenticate(calling(t, "10.0.0.1"))
	require.ErrorIs(t, err, ErrNoCredentials)
	_, err = NewTokens(i.review, TokensConfig{})
	require.ErrorContains(t, err, "Audiences: required")
}

func TestReviewsAreCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{good: map[string]TokenReview{"good": nodeReview("n1")}}
		tokens := newTokens(t, i, nil)
		ask := func(token string) error {
			_, err := tokens.Authenticate(calling(t, "10.0.0.1", "Bearer "+token))
			return err
		}
		require.NoError(t, ask("good"))
		time.Sleep(2*time.Minute - 1)
		require.NoError(t, ask("good"))
		require.Equal(t, 1, i.count())
		time.Sleep(time.Nanosecond)
		require.NoError(t, ask("good"))
		require.Equal(t, 1, i.count())

		require.Error(t, ask("bad"))
		time.Sleep(10*time.Second - 1)
		require.Error(t, ask("bad"))
		require.Equal(t, 1, i.count())
		time.Sleep(time.Nanosecond)
		i.set(func() { i.good["bad"] = nodeReview("n2") })
		require.NoError(t, ask("bad"), "a rejection is cached for a short time")
		require.Equal(t, 1, i.count())
	})
}

func TestUnavailableReviewerRejectsNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		i := &issuer{good: map[string]TokenReview{"good": nodeReview("n1"), "late": nodeReview("n2")}}
		tokens := newTokens(t, i, func(c *TokensConfig) { c.Logger = log.logger() })
		ask := func(token string) error {
			_, err := tokens.Authenticate(calling(t, "10.0.0.1", "Bearer "+token))
			return err
		}
		require.NoError(t, ask("good"))
		i.set(func() { i.err = errors.New("secret of the API server") })
		for range 3 {
			err := ask("late")
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.NotContains(t, err.Error(), "secret")
			require.NoError(t, ask("good"), "cached")
		}
		require.Equal(t, 4, i.count(), "failures are not cached")
		i.set(func() { i.err = nil })
		require.NoError(t, ask("late"))
		require.Equal(t, 1, strings.Count(log.String(), "Token review failed"))
		require.Contains(t, log.String(), "Token review recovered")

		i.set(func() { i.hold = make(chan struct{}) }) // the reviewer hangs
		begun := time.Now()
		require.Equal(t, codes.Unavailable, status.Code(ask("slow")))
		require.Equal(t, 10*time.Second, time.Since(begun))
	})
}

func TestConcurrentCallsShareAReview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{good: map[string]TokenReview{"good": nodeReview("n1")}, hold: make(chan struct{})}
		tokens := newTokens(t, i, nil)
		first, giveUp := context.WithCancel(calling(t, "10.0.0.1", "Bearer good"))
		results := make(chan error, 10)
		ask := func(ctx context.Context) {
			_, err := tokens.Authenticate(ctx)
			results <- err
		}
		go ask(first)
		synctest.Wait()
		impatient, hurry := context.WithTimeout(calling(t, "10.0.0.2", "Bearer good"), time.Second)
		defer hurry()
		go ask(impatient)
		for range 3 {
			go ask(calling(t, "10.0.0.3", "Bearer good"))
		}
		synctest.Wait()
		require.Equal(t, 1, i.count())

		require.Equal(t, codes.DeadlineExceeded, status.Code(<-results), "a waiting call ends with its context")
		giveUp()
		require.Equal(t, codes.Canceled, status.Code(<-results))
		synctest.Wait()
		require.Equal(t, 1, i.count(), "another takes over")
		close(i.hold)
		for range 3 {
			require.NoError(t, <-results)
		}
		require.Zero(t, i.count())
		require.Empty(t, tokens.pending)
	})
}

func TestFloodingAddressDelaysOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{good: map[string]TokenReview{"good": nodeReview("n1")}, hold: make(chan struct{})}
		tokens := newTokens(t, i, nil)
		ctx, stop := context.WithCancel(calling(t, "10.6.6.6"))
		var flood sync.WaitGroup
		for n := range 100 {
			flood.Go(func() {
				_, err := tokens.Authenticate(metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", fmt.Sprintf("Bearer junk%d", n))))
				require.Error(t, err)
			})
		}
		synctest.Wait()
		require.Equal(t, 4, i.count())
		good := make(chan error, 1)
		go func() {
			_, err := tokens.Authenticate(calling(t, "10.0.0.1", "Bearer good"))
			good <- err
		}()
		synctest.Wait()
		require.Equal(t, 1, i.count(), "its review has begun")
		stop()
		flood.Wait()
		close(i.hold)
		require.NoError(t, <-good)
		require.Empty(t, tokens.slots.byAddress)
		require.Empty(t, tokens.slots.all)
	})
}

func TestTokenCachesAreBounded(t *testing.T) {
	i := &issuer{good: map[string]TokenReview{"a": nodeReview("a"), "b": nodeReview("b"), "c": nodeReview("c")}}
	tokens := newTokens(t, i, func(c *TokensConfig) { c.MaxAccepted, c.MaxRejected = 2, 3 })
	ask := func(token string) { _, _ = tokens.Authenticate(calling(t, "10.0.0.1", "Bearer "+token)) }
	ask("a")
	ask("b")
	for n := range 100 {
		ask(fmt.Sprintf("junk%d", n))
	}
	require.Len(t, tokens.rejected.byKey, 3)
	i.count()
	ask("a") // so that b is the least recently used
	require.Zero(t, i.count(), "rejections displace no acceptance")
	ask("c")
	i.count()
	ask("a")
	require.Zero(t, i.count())
	ask("b")
	require.Equal(t, 1, i.count())
	require.Len(t, tokens.accepted.byKey, 2)
	require.Equal(t, 2, tokens.accepted.recency.Len())
}

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestIdentityOfATokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		soon := time.Now().Add(time.Minute).Truncate(time.Second)
		expiring, endless := jwt(fmt.Sprintf(`{"exp":%d}`, soon.Unix())), jwt(`{"exp":1e300}`)
		i := &issuer{good: map[string]TokenReview{expiring: nodeReview("n1"), endless: nodeReview("n1"), "opaque": nodeReview("n1")}}
		tokens := newTokens(t, i, nil)
		identity, err := tokens.Authenticate(calling(t, "10.0.0.1", "Bearer "+expiring))
		require.NoError(t, err)
		require.True(t, soon.Equal(identity.Expires))
		for _, token := range []string{endless, "opaque"} {
			identity, err := tokens.Authenticate(calling(t, "10.0.0.1", "Bearer "+token))
			require.NoError(t, err)
			left := time.Until(identity.Expires)
			require.True(t, 54*time.Minute <= left && left <= time.Hour, "%s", left)
		}
		i.count()
		time.Sleep(time.Until(soon))
		_, err = tokens.Authenticate(calling(t, "10.0.0.1", "Bearer "+expiring))
		require.NoError(t, err)
		require.Equal(t, 1, i.count(), "a review is cached no longer than its token is valid")
	})
}

// TestTokensOverTLS checks nodes with tokens in files and a node with a certificate.
func TestTokensOverTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n3"), inAnHour())
	files := newSecretVolume(t, cert, key, ca.pem).files()
	serverSide, withCert, plain := load(t, files), load(t, files), load(t, Files{CA: files.CA})
	creds, err := serverSide.Server(ClientCertificateOptional)
	require.NoError(t, err)
	expiring := jwt(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(2*time.Second).Unix()))
	i := &issuer{good: map[string]TokenReview{"node": nodeReview("n1"), "agent": agentReview(), "fresh": nodeReview("n2"), expiring: nodeReview("n1")}}
	guard := Guard{
		Authenticate: FirstAuthenticator(AuthenticateCertificate, newTokens(t, i, nil).Authenticate),
		Authorize:    Rules{OwnNode: Subjects{Names: []string{"system:serviceaccount:kube-system:kpng"}}}.Authorize,
	}
	address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds}, ServerLimits{}, guard)
	file := func(token string) string {
		path := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(path, []byte(token+"\n"), 0o600))
		return path
	}
	with := func(token string) healthpb.HealthClient {
		return dial(t, address, plain.Client("kpng.test"), grpc.WithPerRPCCredentials(BearerTokenFile(file(token))))
	}
	require.NoError(t, check(t, with("node"), "n1"))
	require.NoError(t, check(t, with("agent"), "n1"))
	require.ErrorContains(t, check(t, with("agent"), "n2"), `(bound to node n1) is not permitted to watch-node "n2"`)
	require.Equal(t, codes.Unauthenticated, status.Code(check(t, with("wrong"), "n1")))
	require.Equal(t, codes.Unauthenticated, status.Code(check(t, dial(t, address, plain.Client("kpng.test")), "n1")))

	both := dial(t, address, withCert.Client("kpng.test"), grpc.WithPerRPCCredentials(BearerTokenFile(file("node"))))
	require.NoError(t, check(t, both, "n3"), "the certificate is tried first")
	require.Equal(t, codes.PermissionDenied, status.Code(check(t, both, "n1")))

	path := file("node")
	renewed := dial(t, address, plain.Client("kpng.test"), grpc.WithPerRPCCredentials(BearerTokenFile(path)))
	require.NoError(t, check(t, renewed, "n1"))
	require.NoError(t, os.WriteFile(path, []byte("fresh"), 0o600))
	require.NoError(t, check(t, renewed, "n2"))
	require.NoError(t, os.Remove(path))
	require.Equal(t, codes.Unavailable, status.Code(check(t, renewed, "n2")))

	stream, err := with(expiring).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "n1"})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
	require.ErrorContains(t, err, "has expired")
}

func TestTokenIsNotSentInPlaintext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("node"), 0o600))
	_, err := grpc.NewClient("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(BearerTokenFile(path)))
	require.Error(t, err)
	_, err = BearerTokenFile(path).GetRequestMetadata(t.Context())
	require.ErrorContains(t, err, "not sent on an insecure connection")

	i := &issuer{good: map[string]TokenReview{"node": nodeReview("n1")}}
	address := serve(t, "unix://"+filepath.Join(t.TempDir(), "s"), ListenConfig{}, ServerLimits{}, Guard{Authenticate: newTokens(t, i, nil).Authenticate, Authorize: Rules{}.Authorize})
	require.NoError(t, check(t, dial(t, address, SocketCredentials(), grpc.WithPerRPCCredentials(BearerTokenFile(path))), "n1"))
}

func FuzzBearer(f *testing.F) {
	for _, seed := range []string{"Bearer abc", "bearer a.b.c==", "Basic x", "Bearer ", "Bearer \x00", "Bearer =", "Bearer  x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, err := parseBearer(value)
		if err != nil {
			require.Equal(t, codes.Unauthenticated, status.Code(err))
			require.Empty(t, token)
			return
		}
		require.True(t, strings.HasSuffix(value, " "+token))
		require.True(t, strings.EqualFold(strings.TrimRight(strings.TrimSuffix(value, token), " "), "Bearer"))
		require.Regexp(t, `^[A-Za-z0-9._~+/-]+=*$`, token)
		again, err := parseBearer("Bearer " + token)
		require.NoError(t, err)
		require.Equal(t, token, again)
	})
}

func FuzzTokenExpiry(f *testing.F) {
	for _, seed := range []string{jwt(`{"exp":1700000000}`), jwt(`{"exp":1.7e9}`), jwt(`{"exp":1e999}`), jwt(`{"exp":-1}`), jwt(`{"exp":"x"}`), "a.b", "a.b.c"} {
		f.Add(seed, int64(1_700_000_000))
	}
	f.Fuzz(func(t *testing.T, token string, at int64) {
		if end := tokenExpiry(token); !end.IsZero() {
			require.True(t, 0 <= end.Unix() && end.Year() <= 9999, "%s", end)
		}
		if at > 0 && at <= 253402300799 {
			require.Equal(t, at, tokenExpiry(jwt(fmt.Sprintf(`{"iss":"x","exp":%d}`, at))).Unix())
		}
	})
}
