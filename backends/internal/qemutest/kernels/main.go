// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kernels runs tests of the backends on kernels of Debian, in emulated machines: `make
// kernels`. On a kernel that a backend refuses, it checks that the error names the version that is
// required.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/backends/internal/guest"
	"sigs.k8s.io/kpng/backends/internal/qemutest"
)

func main() {
	suites := flag.String("suites", "bookworm", "Debian suites (comma-separated) whose kernels to boot")
	all := flag.Bool("all", false, "run all tests of the packages, instead of some of each")
	only := flag.String("packages", strings.Join(names(), ","), "packages (comma-separated) to test")
	limit := flag.Duration("timeout", time.Hour, "time limit for one kernel")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	r := runner{all: *all, only: *only, limit: *limit}
	err := r.run(ctx, strings.Split(*suites, ","))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

// A runner runs the same tests on several kernels.
type runner struct {
	all   bool
	only  string
	limit time.Duration
	dir   string // temporary
}

func (r *runner) run(ctx context.Context, suites []string) (err error) {
	out, err := exec.CommandContext(ctx, "./test/kernels.sh", suites...).Output()
	if err != nil {
		return fmt.Errorf("test/kernels.sh: %w", withOutput(err))
	}
	kernels := strings.TrimSpace(string(out))
	if r.dir, err = os.MkdirTemp("", "kpng-kernels-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	var failed []error
	for _, suite := range suites {
		if err := r.boot(ctx, suite, filepath.Join(kernels, suite)); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", suite, err))
		}
	}
	return errors.Join(failed...)
}

// withOutput adds to the error of a command what it has printed.
func withOutput(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

// boot runs the tests on the kernel in a directory of test/kernels.sh.
func (r *runner) boot(ctx context.Context, suite, dir string) error {
	kernel, v, err := findKernel(dir)
	if err != nil {
		return err
	}
	initramfs := filepath.Join(r.dir, suite+".cpio")
	if err := r.writeImage(ctx, v, initramfs, filepath.Join(dir, "lib/modules")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	start := time.Now()
	m := qemutest.Machine{
		Kernel: kernel, Initramfs: initramfs, Script: scriptPath, Memory: 2048,
		Modules: []string{"ipv6", "veth", "nf_tables", "nf_conntrack", "nf_conntrack_netlink"},
	}
	var failed failures
	show := func(line string) { fmt.Fprintf(os.Stdout, "%s | %s\n", suite, line) }
	cpu, err := m.Boot(ctx, func(line string) { show(line); failed.add(line) })
	result := "passed"
	if err != nil {
		result = "FAILED"
		show("once more, what failed:")
		for _, line := range failed.lines() {
			show(line)
		}
	}
	fmt.Fprintf(os.Stdout, "%s | %s on %s after %v (%v of CPU)\n", suite, result, kernel, time.Since(start).Round(time.Second), cpu.Round(time.Second))
	return err
}

// findKernel returns the kernel below a directory, and its version. Newer packages have it beside
// the modules.
func findKernel(dir string) (path string, v version, err error) {
	for _, pattern := range []string{"boot/vmlinuz-*", "lib/modules/*/vmlinuz"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", v, err
		}
		if len(found) == 1 {
			path = found[0]
		}
	}
	releases, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil {
		return "", v, err
	}
	if len(releases) != 1 || path == "" {
		return "", v, fmt.Errorf("%s has no kernel, or several", dir)
	}
	if _, err := fmt.Sscanf(filepath.Base(releases[0]), "%d.%d", &v.major, &v.minor); err != nil {
		return "", v, fmt.Errorf("version of kernel %s: %w", releases[0], err)
	}
	return path, v, nil
}

// scriptPath is the script in the guest.
const scriptPath = "/run.sh"

// writeImage writes an initramfs with the tests.
func (r *runner) writeImage(ctx context.Context, v version, path, modules string) error {
	image, err := qemutest.NewImage(ctx)
	if err != nil {
		return err
	}
	var script strings.Builder
	script.WriteString("export KPNG_REQUIRE_NETNS=1\nmount -t cgroup2 none /sys/fs/cgroup\nmount -t bpf none /sys/fs/bpf\nfailed=0\nuname -a\n")
	for _, p := range packages() {
		if !strings.Contains(","+r.only+",", ","+p.name+",") {
			continue
		}
		commands, err := r.addPackage(ctx, image, p, v)
		if err != nil {
			return err
		}
		script.WriteString(commands)
	}
	if strings.Contains(","+r.only+",", ","+quickstart+",") {
		commands, err := r.addQuickstart(ctx, image, v)
		if err != nil {
			return err
		}
		script.WriteString(commands)
	}
	script.WriteString("exit $failed\n")
	image.AddData(scriptPath, 0o755, []byte(script.String()))
	xtables, err := filepath.Glob("/usr/lib/x86_64-linux-gnu/xtables/*.so")
	if err != nil {
		return err
	}
	if err := errors.Join(
		image.AddPrograms(ctx, append(iptablesPrograms(), "nft", "tc")...),
		image.AddLibraries(ctx, xtables...),
		image.AddModules(modules),
		image.AddFile("/kpng/docs/conformance.md", "docs/conformance.md"),
		addIfPresent(image, "/etc/protocols"),
	); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(image.Write(f), f.Close())
}

// iptablesPrograms returns the programs of both variants, and those of the default one.
func iptablesPrograms() []string {
	var all []string
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{"", "-legacy", "-nft"} {
			all = append(all, family+variant, family+variant+"-save", family+variant+"-restore")
		}
	}
	return all
}

func addIfPresent(image *qemutest.Image, path string) error {
	if err := image.AddFile(path, path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// addPackage compiles the tests of a package, once, and returns the commands that run them.
func (r *runner) addPackage(ctx context.Context, image *qemutest.Image, p testPackage, v version) (string, error) {
	binary, err := r.build(ctx, p.name+".test", "test", "-c", "-vet=off", "./backends/"+p.name)
	if err != nil {
		return "", err
	}
	dir := "/kpng/backends/" + p.name
	if err := image.AddFile(dir+"/package.test", binary); err != nil {
		return "", err
	}
	if testdata := "backends/" + p.name + "/testdata"; isDir(testdata) {
		if err := image.AddTree(dir+"/testdata", testdata); err != nil {
			return "", err
		}
	}
	var commands strings.Builder
	fmt.Fprintf(&commands, "cd %s\n", dir)
	for _, run := range p.runs(v, r.all) {
		fmt.Fprintf(&commands, "echo === %s %s\n", p.name, guest.Quote(run.pattern))
		fmt.Fprintf(&commands, "%s ./package.test -test.v -test.parallel=1 -test.timeout=%v -test.run=%s || failed=1\n", run.env, r.limit, guest.Quote(run.pattern))
	}
	return commands.String(), nil
}

// addQuickstart compiles examples/quickstart, once, and returns the commands that run it. On a
// kernel that the nftables backend refuses, its output must have the required version.
func (r *runner) addQuickstart(ctx context.Context, image *qemutest.Image, v version) (string, error) {
	binary, err := r.build(ctx, quickstart, "build", "./examples/quickstart")
	if err != nil {
		return "", err
	}
	if err := image.AddFile("/kpng/quickstart", binary); err != nil {
		return "", err
	}
	commands := "echo === quickstart\n/kpng/quickstart || failed=1\n"
	if v.before(nftablesMinimum()) {
		commands = fmt.Sprintf("echo === quickstart is refused\noutput=$(/kpng/quickstart 2>&1); echo \"$output\"\n"+
			"case \"$output\" in *'at least %d.%d is required'*) ;; *) failed=1 ;; esac\n", nftablesMinimum().major, nftablesMinimum().minor)
	}
	return commands, nil
}

// build runs go with arguments that compile a program, unless that has been done, and returns its path.
func (r *runner) build(ctx context.Context, name string, args ...string) (string, error) {
	binary := filepath.Join(r.dir, name)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	args = append([]string{args[0], "-ldflags=-s -w", "-o", binary}, args[1:]...)
	build := exec.CommandContext(ctx, "go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return binary, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
