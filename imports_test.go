package kpng_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/internal/sources"
)

const module = "sigs.k8s.io/kpng"

// allowed lists what each package of the library may import directly beside the
// standard library, by prefix; docs/dependencies.md says why. A package that is not
// listed may import nothing.
func allowed() map[string][]string {
	api := []string{"k8s.io/api/", "k8s.io/apimachinery/"}
	own := func(paths ...string) []string {
		for i, p := range paths {
			paths[i] = module + "/" + p
		}
		return paths
	}
	return map[string][]string{
		"":                     nil,
		"localsink":            nil,
		"localsink/sinktest":   own("localsink"),
		"diffstore":            {"github.com/google/btree", "github.com/cespare/xxhash/v2"},
		"watchers":             own("diffstore", "localsink"),
		"watchers/kubeapi":     append(own("watchers", "localsink"), api...),
		"watchers/kube":        append(own("watchers", "watchers/kubeapi"), append(api, "k8s.io/client-go/", "github.com/go-logr/logr", "k8s.io/klog/v2", "k8s.io/utils/clock")...),
		"watchers/file":        append(own("watchers", "watchers/kubeapi"), append(api, "sigs.k8s.io/yaml", "sigs.k8s.io/json", "github.com/fsnotify/fsnotify")...),
		"watchers/watchertest": append(own("localsink", "watchers", "watchers/kubeapi"), append(api, "github.com/stretchr/testify/require", "go.uber.org/goleak")...),
		"localsink/feed":       own("localsink", "diffstore"),
		"localsink/plan":       own("localsink"),
		"localsink/nodelocal":  own("localsink", "localsink/feed", "localsink/plan", "watchers", "diffstore"),
		"localsink/remote": append(own("api/kpng/v1alpha1", "internal/fanout", "internal/session", "internal/values", "internal/wire", "diffstore", "localsink",
			"localsink/feed", "localsink/nodelocal", "localsink/plan", "watchers"), "github.com/cespare/xxhash/v2", "google.golang.org/grpc", "google.golang.org/grpc/", "google.golang.org/protobuf/"),
		"localsink/remote/remotemetrics": append(own("localsink/remote"), "github.com/prometheus/client_golang/"),
		"endpoint":                       append(own("transport", "internal/wire"), "google.golang.org/grpc", "google.golang.org/grpc/"),
		"watchers/remote": append(own("api/kpng/v1alpha1", "internal/fanout", "internal/session", "internal/values", "internal/wire", "diffstore", "localsink",
			"watchers"), "github.com/cespare/xxhash/v2", "google.golang.org/grpc", "google.golang.org/grpc/", "google.golang.org/protobuf/"),
		"api/kpng/v1alpha1":               {"google.golang.org/grpc", "google.golang.org/grpc/", "google.golang.org/protobuf/"},
		"internal/fanout":                 own("diffstore"),
		"internal/session":                append(own("api/kpng/v1alpha1", "internal/fanout", "internal/wire"), "google.golang.org/grpc", "google.golang.org/grpc/", "google.golang.org/protobuf/"),
		"internal/sources":                nil,
		"internal/values":                 own("api/kpng/v1alpha1", "localsink"),
		"internal/wire":                   {"google.golang.org/grpc", "google.golang.org/grpc/", "google.golang.org/protobuf/"},
		"backends/backendtest":            append(own("localsink", "localsink/sinktest", "backends/internal/netnstest"), "golang.org/x/sys/unix"),
		"backends/conntrack":              append(own("localsink"), "github.com/vishvananda/netlink", "golang.org/x/sys/unix"),
		"backends/healthcheck":            own("localsink"),
		"backends/localhost":              own("localsink"),
		"backends/nftables":               append(own("localsink", "backends/nftables/internal/nfnl"), "golang.org/x/sys/unix"),
		"backends/nftables/internal/nfnl": {"golang.org/x/sys/unix"},
		"transport":                       {"google.golang.org/grpc", "google.golang.org/grpc/", "golang.org/x/sys/unix"},
		"transport/kubetoken":             append(own("transport"), append(api, "k8s.io/client-go/kubernetes/typed/authentication/v1")...),
	}
}

// TestImports holds every package of the library to its allowed imports.
func TestImports(t *testing.T) {
	require.NoError(t, sources.Depend("."))
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	decoder, seen := json.NewDecoder(strings.NewReader(string(out))), 0
	for decoder.More() {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		require.NoError(t, decoder.Decode(&pkg))
		path := strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/")
		if strings.HasPrefix(path, "examples/") || strings.HasSuffix(path, "test") && strings.Contains(path, "internal/") {
			continue
		}
		seen++
		list, known := allowed()[path]
		require.True(t, known, "%s is not in the list of packages: which imports may it have?", path)
		for _, imported := range pkg.Imports {
			if !strings.Contains(strings.Split(imported, "/")[0], ".") {
				continue // standard library
			}
			require.True(t, slices.ContainsFunc(list, func(a string) bool {
				return imported == a || strings.HasSuffix(a, "/") && strings.HasPrefix(imported, a)
			}), "%s imports %s, which is not allowed there", path, imported)
		}
	}
	require.Equal(t, len(allowed()), seen, "a package in the list does not exist")
}

// TestContractReachesOnlyTheStandardLibrary looks behind the direct imports.
func TestContractReachesOnlyTheStandardLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./localsink").Output()
	require.NoError(t, err)
	require.Equal(t, module+"/localsink", strings.TrimSpace(string(out)))
}

// TestUsersGetNoHeavyModules: nobody who builds a backend compiles a client, and
// nobody at all compiles Kubernetes by importing the library, nor Prometheus without
// asking for it.
func TestUsersGetNoHeavyModules(t *testing.T) {
	reaches := func(pkg string) string {
		out, err := exec.Command("go", "list", "-deps", "./"+pkg).Output()
		require.NoError(t, err)
		return string(out)
	}
	for pkg := range allowed() {
		deps := reaches(pkg)
		for _, heavy := range []string{"k8s.io/kubernetes/", "k8s.io/apiserver/", "k8s.io/component-base/", "github.com/spf13/cobra"} {
			require.NotContains(t, deps, heavy, pkg)
		}
		if !strings.HasSuffix(pkg, "metrics") {
			require.NotContains(t, deps, "github.com/prometheus/", pkg)
		}
		if pkg != "watchers/kube" && pkg != "transport/kubetoken" {
			require.NotContains(t, deps, "k8s.io/client-go/", pkg)
		}
		speaksGRPC := []string{"api/", "endpoint", "internal/session", "internal/values", "internal/wire", "localsink/remote", "transport", "watchers/remote"}
		if !slices.ContainsFunc(speaksGRPC, func(prefix string) bool { return strings.HasPrefix(pkg, prefix) }) {
			require.NotContains(t, deps, "google.golang.org/grpc", pkg)
		}
	}
	t.Run("OP-24 every proxy is independent: nobody elects a leader", func(t *testing.T) {
		for _, pkg := range []string{"examples/kube-proxy", "watchers/kube"} {
			require.NotContains(t, reaches(pkg), "k8s.io/client-go/tools/leaderelection\n")
		}
	})
	require.NotContains(t, reaches("backends/nftables"), "k8s.io/api")
	require.NotContains(t, reaches("localsink/nodelocal"), "k8s.io/api")
	require.NotContains(t, reaches("transport"), "k8s.io/api")
}
