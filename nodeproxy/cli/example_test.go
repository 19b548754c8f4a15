// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"fmt"
	"os"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/cli"
)

// A distribution's main calls os.Exit(cli.Main(cli.Standard(), names)).
func ExampleMain() {
	ctx, cancel := context.WithCancel(context.Background())
	names := cli.Sink{Name: "names", Help: "prints the names of Services", Node: func(context.Context, *cli.Env, string) (cli.NodeSink, error) {
		return cli.NodeSink{Sink: localsink.Func(func(_ context.Context, u *localsink.Update) error {
			for svc := range u.All.All() {
				fmt.Println(svc.Name)
			}
			cancel() // one state is enough for an example
			return nil
		})}, nil
	}}
	args := []string{"kpng", "run", "--from", "file:../../testdata/example", "--node", "node-1", "--to", "names"}
	if err := cli.Standard().With(names).Run(ctx, args, os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
	}
	// Output: default/web
}
