// Command state-server watches a cluster, or manifests, and tells nodes over gRPC what
// they must do. It answers kpngctl, and serves health and reflection beside it. It knows
// flags, signals and ports; all else is in the library.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/endpoint"
	"sigs.k8s.io/kpng/examples/internal/cli"
	"sigs.k8s.io/kpng/examples/internal/serving"
	"sigs.k8s.io/kpng/localsink/remote"
	"sigs.k8s.io/kpng/localsink/remote/remotemetrics"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kube"
)

func main() { cli.Main("state-server", run) }

type options struct {
	manifests, kubeconfig, metrics string
	verbose                        bool
	meaning                        serving.Meaning
	listen                         serving.Listener
}

const usage = `Usage: state-server [FLAGS]

Tells nodes over gRPC what they must do for Services. The facts come from the API
server, by -kubeconfig or as the pod that this runs in, or from -manifests.

Flags:
`

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("state-server", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	fs.StringVar(&o.manifests, "manifests", "", "a `directory` of manifests to follow, instead of an API server")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "a kubeconfig `file`; without it, the pod's service account")
	fs.StringVar(&o.metrics, "metrics", "", "the `address` to serve /metrics, /livez and /readyz on, over HTTP")
	fs.BoolVar(&o.verbose, "v", false, "log more")
	o.meaning.Define(fs)
	o.listen.Define(fs)
	return o, cli.ParseAll(fs, args, stderr)
}

func run(ctx context.Context, args []string, _, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := cli.Logger(stderr, o.verbose)
	var client kubernetes.Interface
	if o.manifests == "" || o.listen.TokenReview() {
		if client, err = serving.Kubernetes(o.kubeconfig); err != nil {
			return err
		}
	}
	store := watchers.NewStore()
	latencies := remotemetrics.NewLatencies()
	cfg := remote.ServerConfig{
		Authorize: endpoint.AllowNode, AuthorizeInspect: endpoint.AllowInspect, Observe: latencies.Observe,
		Name: "state-server " + cli.Version(), Logger: log,
	}
	if cfg.Meaning, err = o.meaning.Config(); err != nil {
		return err
	}
	nodes, err := remote.NewServer(store, cfg)
	if err != nil {
		return err
	}
	defer nodes.Close()
	listener, guard, certificates, err := o.listen.Listen(ctx, client, log)
	if err != nil {
		return err
	}
	return cli.Together(ctx,
		func(ctx context.Context) error { return o.watcher(client, log).Run(ctx, store) },
		certificates,
		func(ctx context.Context) error {
			return endpoint.Serve(ctx, listener, endpoint.Config{Guard: guard, Register: nodes.RegisterInspect, Logger: log}, nodes)
		},
		func(ctx context.Context) error {
			return serving.Observe(ctx, o.metrics, log, []prometheus.Collector{latencies, remotemetrics.NewNodes(nodes)}, nodes.Ready())
		})
}

func (o *options) watcher(client kubernetes.Interface, log *slog.Logger) watchers.Watcher {
	if o.manifests != "" {
		return file.New(o.manifests, file.Config{Logger: log})
	}
	return kube.New(client, kube.Config{Logger: log})
}
