// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "sigs.k8s.io/kpng"

// folders lists the top-level folders in dependency order: a package imports only
// packages of its own folder and of folders before it.
func folders() []string {
	return []string{"api", "diffstore", "internal", "localsink", "watchers", "nodelocal", "backends", "remote", "nodeproxy", "examples"}
}

// own returns the import paths of packages of this module.
func own(paths ...string) []string {
	for i, p := range paths {
		paths[i] = module + "/" + p
	}
	return paths
}

// allowedImports lists what each package of the library may import directly beside the
// standard library. An entry that ends in "/" is a prefix. docs/dependencies.md has the
// reason for each third-party module.
func allowedImports() map[string][]string {
	kubernetesAPI := []string{"k8s.io/api/", "k8s.io/apimachinery/"}
	grpc := []string{"google.golang.org/grpc", "google.golang.org/grpc/"}
	grpcAndProto := append(slices.Clone(grpc), "google.golang.org/protobuf/")
	const retryInfo = "google.golang.org/genproto/googleapis/rpc/errdetails"
	remote := slices.Concat(grpcAndProto, []string{"github.com/cespare/xxhash/v2"}, own("api/kpng/v1alpha1", "diffstore", "localsink", "watchers", "remote/transport",
		"remote/internal/fanout", "remote/internal/session", "remote/internal/protoconv", "remote/internal/codec", "remote/internal/loglimit", "remote/internal/nodestate"))
	all := map[string][]string{
		"":                     nil,
		"api/kpng/v1alpha1":    grpcAndProto,
		"diffstore":            {"github.com/google/btree", "github.com/cespare/xxhash/v2"},
		"internal/pointermap":  nil,
		"localsink":            nil,
		"localsink/consistent": nil,
		"localsink/reconciler": own("localsink", "diffstore"),
		"localsink/sinktest":   own("localsink"),
		"nodelocal":            own("internal/pointermap", "localsink", "localsink/reconciler", "nodelocal/nodeports", "nodelocal/overlay", "watchers", "diffstore"),
		"nodelocal/nodeports":  own("localsink"),
		"nodelocal/vectors": append(own("localsink", "localsink/sinktest", "nodelocal", "watchers", "watchers/kubeapi"), "golang.org/x/tools/txtar", "sigs.k8s.io/yaml",
			"k8s.io/api/core/v1", "k8s.io/api/discovery/v1", "k8s.io/api/networking/v1", "k8s.io/apimachinery/pkg/apis/meta/v1"),
		"nodelocal/overlay":        own("localsink"),
		"nodeproxy":                own("localsink"),
		"nodeproxy/backendmetrics": append(own("backends/conntrack", "backends/ebpf", "backends/hns", "backends/iptables", "backends/nftables", "nodeproxy/metrics"), "github.com/prometheus/client_golang/prometheus"),
		"nodeproxy/clientmetrics":  {"github.com/prometheus/client_golang/prometheus", "k8s.io/client-go/tools/metrics"},
		"nodeproxy/command":        nil,
		"nodeproxy/dataplane": append(own("backends/conntrack", "backends/ebpf", "backends/hns", "backends/iptables", "backends/ipvs", "backends/nftables", "backends/userspace", "localsink",
			"nodeproxy/backendmetrics", "nodeproxy/status", "nodeproxy/takeover"), "github.com/prometheus/client_golang/prometheus"),
		"nodeproxy/events":     slices.Concat(own("localsink"), kubernetesAPI, []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/kubernetes/scheme", "k8s.io/client-go/tools/events"}),
		"nodeproxy/health":     own("backends/healthcheck", "localsink", "watchers"),
		"nodeproxy/httpserver": nil,
		"nodeproxy/kubeclient": append(own("watchers/kube"), "k8s.io/client-go/"),
		"nodeproxy/kubeproxy": append(own("localsink", "nodelocal", "nodeproxy/command", "nodeproxy/events", "nodeproxy/health", "nodeproxy/httpserver",
			"nodeproxy/kubeproxyconfig", "nodeproxy/metrics", "nodeproxy/nodeips", "nodeproxy/pipeline", "watchers", "watchers/kube", "watchers/kubeapi"),
			"k8s.io/client-go/kubernetes", "github.com/prometheus/client_golang/prometheus"),
		"nodeproxy/logging": {"k8s.io/klog/v2"},
		"nodeproxy/kubeproxyconfig": append(own("backends/hns", "backends/iptables", "backends/ipvs", "backends/nftables", "nodelocal", "nodeproxy/kubeclient", "nodeproxy/sysctl", "watchers/kube", "watchers/kubeapi"), "k8s.io/apimachinery/pkg/",
			"k8s.io/kube-proxy/config/v1alpha1", "k8s.io/component-base/cli/flag", "k8s.io/component-base/logs/api/v1", "k8s.io/utils/net",
			"github.com/spf13/pflag", "github.com/fsnotify/fsnotify"),
		"nodeproxy/metrics":   append(own("backends/localhost", "localsink", "nodeproxy/httpserver"), "github.com/prometheus/client_golang/", "github.com/prometheus/client_model/go"),
		"nodeproxy/nodeagent": append(own("localsink", "nodeproxy/command", "nodeproxy/httpserver", "nodeproxy/metrics", "nodeproxy/pipeline"), "github.com/prometheus/client_golang/prometheus"),
		"nodeproxy/nodeips":   own("nodelocal", "watchers"),
		"nodeproxy/pipeline":  append(own("backends/healthcheck", "backends/localhost", "localsink", "nodelocal", "nodeproxy", "nodeproxy/health", "nodeproxy/httpserver", "nodeproxy/metrics", "nodeproxy/problems", "nodeproxy/status"), "github.com/prometheus/client_golang/prometheus"),
		"nodeproxy/printer":   own("localsink"),
		"nodeproxy/problems":  own("backends/healthcheck", "localsink"),
		"nodeproxy/remoteflags": slices.Concat(own("localsink", "nodelocal", "nodeproxy/command", "nodeproxy/httpserver", "nodeproxy/servertier", "remote/node", "remote/transport", "remote/transport/kubetoken", "watchers", "watchers/kubeapi"), grpc,
			[]string{"github.com/prometheus/client_golang/prometheus", "k8s.io/client-go/kubernetes"}),
		"nodeproxy/statepage":            nil,
		"nodeproxy/status":               own("localsink", "nodelocal", "nodeproxy/problems", "nodeproxy/statepage"),
		"nodeproxy/sysctl":               nil,
		"nodeproxy/takeover":             own("backends/iptables", "backends/nftables", "nodeproxy/takeover/internal/iptables", "nodeproxy/takeover/internal/ipvs"),
		"nodeproxy/tuning":               nil,
		"nodeproxy/winservice":           {"golang.org/x/sys/windows/svc", "golang.org/x/sys/windows/svc/eventlog"},
		"remote/cluster":                 remote,
		"remote/inspect":                 append(own("api/kpng/v1alpha1", "localsink", "remote/internal/nodestate"), grpcAndProto...),
		"remote/internal/codec":          grpcAndProto,
		"remote/internal/fanout":         own("diffstore"),
		"remote/internal/loglimit":       nil,
		"remote/internal/protoconv":      own("api/kpng/v1alpha1", "localsink"),
		"remote/internal/session":        append(own("api/kpng/v1alpha1", "remote/internal/fanout", "remote/internal/codec"), append(grpcAndProto, retryInfo)...),
		"remote/node":                    append(own("internal/pointermap", "localsink/reconciler", "nodelocal", "nodelocal/overlay"), remote...),
		"remote/node/nodemetrics":        append(own("remote/node"), "github.com/prometheus/client_golang/"),
		"remote/transport":               slices.Concat(own("remote/internal/codec", "remote/internal/loglimit"), grpcAndProto, []string{"golang.org/x/sys/unix", retryInfo}),
		"remote/transport/kubetoken":     slices.Concat(own("remote/transport"), kubernetesAPI, []string{"k8s.io/client-go/kubernetes/typed/authentication/v1"}),
		"backends/internal/umltest/boot": own("backends/internal/umltest"),

		"nodeproxy/takeover/internal/iptables": append(own("backends/nftables"), "golang.org/x/sys/unix"),
		"nodeproxy/takeover/internal/ipvs":     {"github.com/vishvananda/netlink", "github.com/vishvananda/netlink/nl", "golang.org/x/sys/unix"},
	}
	maps.Copy(all, backendImports())
	maps.Copy(all, watcherImports(kubernetesAPI))
	maps.Copy(all, commandLineImports(grpcAndProto))
	return all
}

// watcherImports is the part of allowedImports for the folder watchers.
func watcherImports(kubernetesAPI []string) map[string][]string {
	return map[string][]string{
		"watchers":                own("diffstore", "internal/pointermap", "localsink", "watchers/internal/valid"),
		"watchers/internal/valid": own("localsink"),
		"watchers/gateway": slices.Concat(own("diffstore", "localsink", "watchers", "watchers/internal/reflectors", "watchers/internal/shares", "watchers/internal/valid", "watchers/kubeapi"), kubernetesAPI,
			[]string{"k8s.io/client-go/dynamic"}),
		"watchers/internal/shares":     nil,
		"watchers/dnssrv":              append(own("localsink", "watchers", "watchers/internal/shares", "watchers/internal/valid"), "golang.org/x/net/dns/dnsmessage"),
		"watchers/file":                slices.Concat(own("watchers", "watchers/kubeapi"), kubernetesAPI, []string{"go.yaml.in/yaml/v2", "go.yaml.in/yaml/v3", "sigs.k8s.io/yaml", "sigs.k8s.io/json", "github.com/fsnotify/fsnotify"}),
		"watchers/internal/apidecode":  append([]string{"k8s.io/client-go/"}, kubernetesAPI...),
		"watchers/internal/reflectors": append(own("watchers"), "k8s.io/apimachinery/", "k8s.io/client-go/tools/cache", "github.com/go-logr/logr", "k8s.io/klog/v2", "k8s.io/utils/clock"),
		"watchers/kube":                slices.Concat(own("watchers", "watchers/internal/apidecode", "watchers/internal/reflectors", "watchers/kubeapi"), kubernetesAPI, []string{"k8s.io/client-go/"}),
		"watchers/mcs":                 slices.Concat(own("watchers", "watchers/internal/apidecode", "watchers/internal/reflectors", "watchers/kubeapi"), kubernetesAPI, []string{"k8s.io/client-go/dynamic", "k8s.io/client-go/kubernetes", "k8s.io/client-go/kubernetes/typed/discovery/v1"}),
		"watchers/kubeapi":             append(own("watchers", "watchers/internal/valid", "localsink"), kubernetesAPI...),
		"watchers/watchertest":         slices.Concat(own("localsink", "watchers", "watchers/kubeapi"), kubernetesAPI, []string{"github.com/stretchr/testify/require", "go.uber.org/goleak"}),
	}
}

// commandLineImports is the part of allowedImports for the command line, which assembles everything,
// and for programs in other languages.
func commandLineImports(grpcAndProto []string) map[string][]string {
	return map[string][]string{
		"remote/execsink":             append(own("localsink", "remote/internal/lineprocess", "remote/internal/nodestate"), grpcAndProto...),
		"remote/execsource":           own("remote/internal/lineprocess", "watchers", "watchers/file", "watchers/kubeapi"),
		"remote/execvectors":          own("remote/internal/lineprocess"),
		"remote/internal/lineprocess": nil,
		"remote/internal/nodestate":   append(own("api/kpng/v1alpha1", "localsink", "nodelocal/overlay", "remote/internal/protoconv"), grpcAndProto...),

		"nodeproxy/readiness": slices.Concat(own("remote/node", "watchers"), []string{"k8s.io/api/", "k8s.io/apimachinery/"},
			[]string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/tools/events", "k8s.io/client-go/util/workqueue"}),
		"nodeproxy/servertier": append(own("api/kpng/v1alpha1", "localsink", "nodelocal", "nodeproxy/command", "nodeproxy/httpserver", "nodeproxy/metrics", "nodeproxy/statepage", "remote/cluster", "remote/node", "remote/node/nodemetrics", "remote/transport", "watchers"),
			"github.com/prometheus/client_golang/prometheus", "google.golang.org/grpc/codes", "google.golang.org/grpc/status", "google.golang.org/protobuf/encoding/protojson"),
		"nodeproxy/cli": append(own("backends/backendtest", "backends/conntrack", "backends/ebpf", "backends/nftables", "localsink", "localsink/sinktest", "nodelocal", "nodelocal/vectors", "nodeproxy/backendmetrics", "nodeproxy/command",
			"nodeproxy/dataplane", "nodeproxy/kubeclient", "nodeproxy/nodeagent", "nodeproxy/nodeips", "watchers/dnssrv", "watchers/gateway", "watchers/mcs", "nodeproxy/pipeline", "nodeproxy/printer", "nodeproxy/readiness", "nodeproxy/remoteflags",
			"nodeproxy/servertier", "nodeproxy/tuning", "remote/cluster", "remote/execsink", "remote/execsource", "remote/execvectors", "remote/inspect", "remote/node",
			"watchers", "watchers/file", "watchers/kube", "watchers/kubeapi"),
			"github.com/prometheus/client_golang/prometheus", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", "k8s.io/client-go/kubernetes", "sigs.k8s.io/yaml"),
	}
}

// backendImports is the part of allowedImports for the folder backends.
func backendImports() map[string][]string {
	return map[string][]string{
		"backends/backendtest":            append(own("localsink", "localsink/consistent", "localsink/sinktest", "backends/internal/netnstest"), "golang.org/x/sys/unix"),
		"backends/conntrack":              append(own("localsink"), "github.com/vishvananda/netlink", "golang.org/x/sys/unix"),
		"backends/ebpf":                   append(own("localsink", "localsink/consistent", "backends/ebpf/internal/bytecode", "backends/internal/contract", "backends/internal/drift"), "github.com/cilium/ebpf", "github.com/cilium/ebpf/", "github.com/vishvananda/netlink", "github.com/vishvananda/netlink/nl", "golang.org/x/sys/unix"),
		"backends/ebpf/internal/bytecode": {"github.com/cilium/ebpf"},
		"backends/healthcheck":            own("localsink"),
		"backends/hns":                    own("localsink", "backends/internal/contract", "backends/internal/drift"),
		"backends/hns/hnstest":            own("backends/hns"),
		"backends/ipvs":                   append(own("localsink", "backends/internal/contract", "backends/internal/drift"), "github.com/moby/ipvs", "github.com/vishvananda/netlink", "github.com/vishvananda/netlink/nl", "golang.org/x/sys/unix"),
		"backends/iptables":               append(own("localsink", "backends/internal/bisect", "backends/internal/contract", "backends/internal/drift"), "golang.org/x/sys/unix"),
		"backends/localhost":              own("backends/userspace", "localsink"),
		"backends/internal/bisect":        own("localsink"),
		"backends/internal/contract":      own("localsink"),
		"backends/internal/drift":         nil,
		"backends/nftables":               append(own("internal/pointermap", "localsink", "localsink/consistent", "backends/internal/bisect", "backends/internal/contract", "backends/internal/drift", "backends/nftables/internal/nfnl"), "golang.org/x/sys/unix"),
		"backends/nftables/internal/nfnl": {"golang.org/x/sys/unix"},
		"backends/userspace":              append(own("localsink", "localsink/consistent"), "golang.org/x/sys/unix"),

		"backends/internal/guest":            nil,
		"backends/internal/qemutest/kernels": own("backends/internal/guest", "backends/internal/qemutest"),
	}
}

// listPackages returns the imports of every package of the module by its path inside
// the module.
func listPackages(t *testing.T) map[string][]string {
	dependOnModuleFiles(t)
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	packages := map[string][]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		require.NoError(t, decoder.Decode(&pkg))
		packages[pathInModule(pkg.ImportPath)] = pkg.Imports
	}
	return packages
}

func pathInModule(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// TestImports checks the direct imports of every package of the library.
func TestImports(t *testing.T) {
	seen := 0
	for path, imports := range listPackages(t) {
		if strings.HasPrefix(path, "examples/") || strings.HasSuffix(path, "test") && strings.Contains(path, "internal/") {
			continue
		}
		seen++
		allowed, listed := allowedImports()[path]
		require.True(t, listed, "package %s is not in allowedImports", path)
		for _, imported := range imports {
			if !strings.Contains(strings.Split(imported, "/")[0], ".") {
				continue // standard library
			}
			require.True(t, slices.ContainsFunc(allowed, func(a string) bool {
				return imported == a || strings.HasSuffix(a, "/") && strings.HasPrefix(imported, a)
			}), "%s imports %s, which allowedImports does not permit", path, imported)
		}
	}
	require.Equal(t, len(allowedImports()), seen, "allowedImports has a package that does not exist")
}

// TestFoldersImportOneWay checks the order of the top-level folders.
func TestFoldersImportOneWay(t *testing.T) {
	for path, imports := range listPackages(t) {
		if path == "" {
			continue // the root package has only documentation
		}
		index := slices.Index(folders(), strings.Split(path, "/")[0])
		require.GreaterOrEqual(t, index, 0, "the folder of %s is not in the list", path)
		for _, imported := range imports {
			if !strings.HasPrefix(imported, module+"/") {
				continue
			}
			other := slices.Index(folders(), strings.Split(pathInModule(imported), "/")[0])
			require.LessOrEqual(t, other, index, "%s imports %s, whose folder comes later", path, imported)
		}
	}
}

// TestContractReachesOnlyTheStandardLibrary checks the transitive imports of localsink.
func TestContractReachesOnlyTheStandardLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./localsink").Output()
	require.NoError(t, err)
	require.Equal(t, module+"/localsink", strings.TrimSpace(string(out)))
}

// heavyModules lists the modules that only some packages may compile, directly or
// indirectly.
func heavyModules() map[string][]string {
	return map[string][]string{
		"k8s.io/kubernetes/":     nil,
		"k8s.io/apiserver/":      nil,
		"k8s.io/component-base/": {"nodeproxy/kubeproxy", "nodeproxy/kubeproxyconfig"}, // and with it:
		"k8s.io/kube-proxy/":     {"nodeproxy/kubeproxy", "nodeproxy/kubeproxyconfig"},
		"github.com/spf13/cobra": {"nodeproxy/cli", "nodeproxy/kubeproxy", "nodeproxy/kubeproxyconfig"},
		"go.opentelemetry.io/":   {"nodeproxy/kubeproxy", "nodeproxy/kubeproxyconfig"},
		"github.com/prometheus/": {"remote/node/nodemetrics", "nodeproxy/backendmetrics", "nodeproxy/cli", "nodeproxy/clientmetrics", "nodeproxy/dataplane", "nodeproxy/kubeproxy", "nodeproxy/kubeproxyconfig", "nodeproxy/metrics", "nodeproxy/nodeagent", "nodeproxy/pipeline",
			"nodeproxy/remoteflags", "nodeproxy/servertier"},
		"k8s.io/client-go/": {"watchers/gateway", "watchers/internal/apidecode", "watchers/internal/reflectors", "watchers/kube", "watchers/mcs", "remote/transport/kubetoken", "nodeproxy/cli", "nodeproxy/clientmetrics", "nodeproxy/events", "nodeproxy/kubeclient", "nodeproxy/kubeproxy",
			"nodeproxy/kubeproxyconfig", "nodeproxy/readiness", "nodeproxy/remoteflags"},
		"google.golang.org/grpc\n": {"api/kpng/v1alpha1", "remote/cluster", "remote/execsink", "remote/inspect", "remote/internal/codec", "remote/internal/nodestate", "remote/internal/protoconv",
			"remote/internal/session", "remote/node", "remote/node/nodemetrics", "remote/transport", "remote/transport/kubetoken",
			"nodeproxy/cli", "nodeproxy/readiness", "nodeproxy/remoteflags", "nodeproxy/servertier"},
	}
}

// TestUsersGetNoHeavyModules checks the transitive imports of every package: a backend
// compiles no Kubernetes client, and only packages that need them compile gRPC,
// Prometheus or client-go.
func TestUsersGetNoHeavyModules(t *testing.T) {
	reaches := func(pkg string) string {
		out, err := exec.Command("go", "list", "-deps", "./"+pkg).Output()
		require.NoError(t, err)
		return string(out)
	}
	for pkg := range allowedImports() {
		deps := reaches(pkg)
		for heavy, users := range heavyModules() {
			require.Equal(t, slices.Contains(users, pkg), strings.Contains(deps, heavy), "%s compiles %s", pkg, strings.TrimSpace(heavy))
		}
	}
	t.Run("OP-24 every proxy is independent: there is no leader election", func(t *testing.T) {
		for _, pkg := range []string{"examples/kube-proxy", "watchers/kube"} {
			require.NotContains(t, reaches(pkg), "k8s.io/client-go/tools/leaderelection\n")
		}
	})
	for _, pkg := range []string{"backends/nftables", "nodelocal", "remote/transport"} {
		require.NotContains(t, reaches(pkg), "k8s.io/api", pkg)
	}
}
