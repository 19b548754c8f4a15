package backendtest

import "slices"

// behaviours are all that a backend is asked to show.
func behaviours() []behaviour {
	return slices.Concat(addressCases(), clientCases(), refusalCases(), choiceCases(), affinityCases(),
		changeCases(), flowCases(), operationCases())
}
