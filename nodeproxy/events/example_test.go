// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"fmt"

	clientevents "k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/events"
)

func ExampleNew() {
	written := clientevents.NewFakeRecorder(1) // a program uses events.Start
	recorder := events.New(written)
	defer recorder.Close()
	recorder.ServiceWarning(localsink.ServiceName{Namespace: "default", Name: "web"}, "ServiceNotProgrammed", "port 30080 is in use")
	fmt.Println(<-written.Events)
	// Output: Warning ServiceNotProgrammed port 30080 is in use
}
