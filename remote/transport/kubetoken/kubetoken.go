// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubetoken reviews bearer tokens with the TokenReview API of Kubernetes, for
// package transport. It is independent of gRPC.
package kubetoken

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"sigs.k8s.io/kpng/remote/transport"
)

// Reviewer returns a reviewer that creates TokenReviews. It needs the permission to create
// them and changes nothing in the cluster:
//
//	kubetoken.Reviewer(clientset.AuthenticationV1().TokenReviews())
func Reviewer(reviews client.TokenReviewInterface) transport.TokenReviewer {
	return func(ctx context.Context, token string, audiences []string) (transport.TokenReview, error) {
		review, err := reviews.Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences},
		}, metav1.CreateOptions{})
		if err != nil {
			return transport.TokenReview{}, fmt.Errorf("kubetoken: creating a TokenReview: %w", err)
		}
		status := review.Status
		extra := make(map[string][]string, len(status.User.Extra))
		for key, values := range status.User.Extra {
			extra[key] = values
		}
		return transport.TokenReview{
			Authenticated: status.Authenticated,
			Name:          status.User.Username,
			Groups:        status.User.Groups,
			Audiences:     status.Audiences,
			Extra:         extra,
			Reason:        status.Error,
		}, nil
	}
}
