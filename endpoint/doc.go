// Package endpoint serves gRPC services behind one listener as a cluster expects it:
// guarded, limited, with health and reflection, and stopped in bounded time; it knows
// neither Services nor facts.
//
// Servers of nodes and of facts do what they do; what is here is what every program
// around them needs:
//
//	err := endpoint.Serve(ctx, listener, endpoint.Config{Guard: guard, Register: nodes.RegisterInspect}, nodes)
package endpoint
