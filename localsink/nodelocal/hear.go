package nodelocal

import "sigs.k8s.io/kpng/watchers"

// hear logs what is wrong with a fact when no Service is there to tell of it: with the
// own node, a ServiceCIDR, or a slice without a Service.
func (t *Table) hear(facts watchers.Snapshot, f watchers.Fact) {
	var problems []watchers.Problem
	switch f := f.(type) {
	case *watchers.EndpointSlice:
		if facts.Service(f.Service) == nil {
			problems = f.Problems
		}
	case *watchers.Node:
		if f.Name == t.cfg.NodeName {
			problems = f.Problems
		}
	case *watchers.ServiceCIDR:
		problems = f.Problems
	}
	for _, p := range problems {
		t.cfg.Logger.Warn("Cannot be honoured", "object", p.Object, "field", p.Field, "problem", p.Message)
	}
}
