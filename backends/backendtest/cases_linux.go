package backendtest

import "slices"

// behaviours are all that a backend is asked to show.
func behaviours() []behaviour {
	return slices.Concat(addressCases(), loopbackCases(), clientCases(), refusalCases(), choiceCases(), affinityCases(),
		changeCases(), flowCases(), resetCases(), operationCases())
}
