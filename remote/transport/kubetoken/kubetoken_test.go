// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubetoken_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"

	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/remote/transport/kubetoken"
)

// answering returns a reviewer whose API server always returns one answer, and the requests
// that this server received.
func answering(t *testing.T, code int, answer any) (transport.TokenReviewer, *authenticationv1.TokenReview) {
	asked := &authenticationv1.TokenReview{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewDecoder(r.Body).Decode(asked)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	c, err := client.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	require.NoError(t, err)
	return kubetoken.Reviewer(c.TokenReviews()), asked
}

func TestReviewer(t *testing.T) {
	accepted := authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
		Status: authenticationv1.TokenReviewStatus{
			Authenticated: true, Audiences: []string{"kpng"},
			User: authenticationv1.UserInfo{
				Username: "system:serviceaccount:kube-system:kpng", Groups: []string{"system:serviceaccounts"},
				Extra: map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/node-name": {"n1"}},
			},
		},
	}
	review, asked := answering(t, http.StatusCreated, accepted)
	got, err := review(t.Context(), "abc", []string{"kpng", "other"})
	require.NoError(t, err)
	require.Equal(t, transport.TokenReview{
		Authenticated: true, Name: "system:serviceaccount:kube-system:kpng", Groups: []string{"system:serviceaccounts"},
		Audiences: []string{"kpng"}, Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}},
	}, got)
	require.Equal(t, authenticationv1.TokenReviewSpec{Token: "abc", Audiences: []string{"kpng", "other"}}, asked.Spec)

	refused := authenticationv1.TokenReview{TypeMeta: accepted.TypeMeta, Status: authenticationv1.TokenReviewStatus{Error: "invalid bearer token"}}
	review, _ = answering(t, http.StatusCreated, refused)
	got, err = review(t.Context(), "abc", []string{"kpng"})
	require.NoError(t, err)
	require.False(t, got.Authenticated)
	require.Equal(t, "invalid bearer token", got.Reason)

	review, _ = answering(t, http.StatusForbidden, metav1.Status{Status: "Failure", Code: 403, Reason: metav1.StatusReasonForbidden, Message: "no"})
	_, err = review(t.Context(), "abc", []string{"kpng"})
	require.ErrorContains(t, err, "creating a TokenReview")
	require.NotContains(t, err.Error(), "abc")
}
