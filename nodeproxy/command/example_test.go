// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

func ExampleRunAll() {
	err := command.RunAll(context.Background(),
		func(ctx context.Context) error { // a server
			<-ctx.Done()
			fmt.Println("server stopped")
			return nil
		},
		func(context.Context) error { return errors.New("watcher failed") },
	)
	fmt.Println("exit code", command.ExitCode("proxy", err, os.Stdout))
	// Output:
	// server stopped
	// proxy: watcher failed
	// exit code 1
}
