// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import "slices"

// behaviours returns all behaviours in the order of reports.
func behaviours() []behaviour {
	return slices.Concat(addressCases(), loopbackCases(), clientCases(), masqueradeExceptionCases(), refusalCases(), refusedShareCases(), passCases(),
		choiceCases(), weightCases(), consistentCases(), affinityCases(), changeCases(), flowCases(), resetCases(), operationCases())
}
