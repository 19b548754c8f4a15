// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"fmt"

	"sigs.k8s.io/kpng/remote/inspect"
)

func ExampleParse() {
	c, err := inspect.Parse("kpng", []string{"watch", "node-1"})
	fmt.Println(c.Endless(), err) // then c.Run(ctx, inspect.Config{Out: os.Stdout}, conn)
	_, err = inspect.Parse("kpng", []string{"explain", "node-1"})
	fmt.Println(err)
	// Output:
	// true <nil>
	// kpng explain NODE NAMESPACE/NAME
}
