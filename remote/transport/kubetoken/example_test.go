// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubetoken_test

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/remote/transport/kubetoken"
)

// An authenticator of service account tokens for the audience "kpng". The fake API server
// accepts every token.
func Example() {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{
			Authenticated: true,
			User:          authenticationv1.UserInfo{Username: "system:serviceaccount:kpng-system:node-agent"},
			Audiences:     []string{"kpng"},
		}}, nil
	})
	reviewer := kubetoken.Reviewer(client.AuthenticationV1().TokenReviews())
	tokens, err := transport.NewTokens(reviewer, transport.TokensConfig{Audiences: []string{"kpng"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = transport.Guard{Authenticate: tokens.Authenticate} // for transport.Serve
	review, err := reviewer(context.Background(), "a-token", []string{"kpng"})
	fmt.Println(review.Name, err)
	// Output: system:serviceaccount:kpng-system:node-agent <nil>
}
