// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clientevents "k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/localsink"
)

func TestEventsAreWrittenToTheAPIServer(t *testing.T) {
	client := fake.NewClientset()
	r := Start(t.Context(), client, "kube-proxy")
	defer r.Close()
	r.ServiceWarning(localsink.ServiceName{Namespace: "ns", Name: "web"}, "ServiceNotProgrammed", "100% full")
	require.Eventually(t, func() bool {
		list, err := client.EventsV1().Events("ns").List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		if len(list.Items) == 0 {
			return false
		}
		e := list.Items[0]
		require.Equal(t, "100% full", e.Note)
		require.Equal(t, "ServiceNotProgrammed", e.Reason)
		require.Equal(t, "Program", e.Action)
		require.Equal(t, corev1.EventTypeWarning, e.Type)
		require.Equal(t, "kube-proxy", e.ReportingController)
		require.Equal(t, corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "ns", Name: "web"}, e.Regarding)
		return true
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, r.Close())
}

func TestEventOfTheStart(t *testing.T) {
	fakeRecorder := clientevents.NewFakeRecorder(1)
	r := New(fakeRecorder)
	r.ProxyStarting("node-1")
	require.Equal(t, "Normal Starting ", <-fakeRecorder.Events)
	require.NoError(t, r.Close())
}
