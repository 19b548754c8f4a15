package cli

import (
	"context"
	"fmt"
	"io"

	"sigs.k8s.io/kpng/localsink"
)

// Printer returns a sink that prints what changes.
func Printer(w io.Writer) localsink.Sink {
	return localsink.Func(func(_ context.Context, u *localsink.Update) error {
		if u.NodeChanged {
			fmt.Fprintf(w, "# node %s %v\n", u.Node.Name, u.Node.IPs)
		}
		for _, svc := range u.Changed {
			fmt.Fprint(w, "+ ", svc.Text())
		}
		for _, svc := range u.Removed {
			fmt.Fprintln(w, "-", svc.Name)
		}
		return nil
	})
}
