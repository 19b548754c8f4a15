// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// minimumLinux is the first version that has all that the programs need.
const minimumLinux = "5.18"

// bpfMount is where the BPF file system is expected.
const bpfMount = "/sys/fs/bpf"

// New returns a Backend for the machine whose node is in the network namespace of the calling
// thread. Programs that a former process attached remain as they are until the first Sync.
//
// The error is errors.ErrUnsupported if the kernel lacks something.
func New(cfg Config) (*Backend, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	k, err := newLinuxKernel(cfg)
	if err != nil {
		return nil, err
	}
	return newBackend(k.cfg, k), nil
}

// Cleanup detaches the programs of a former process and removes all that is pinned.
func Cleanup(cfg Config) error {
	dir := cmp.Or(cfg.PinDirectory, DefaultPinDirectory)
	var errs []error
	for _, name := range hooks() {
		l, err := link.LoadPinnedLink(filepath.Join(dir, name), nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(l.Detach(), l.Unpin(), l.Close())
		}
		errs = append(errs, err)
	}
	for _, name := range sharedMaps() {
		if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, removeDevices(dir, nil))
	if err := os.Remove(dir); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return wrap("ebpf: clean up", errors.Join(errs...))
}

// findCgroup returns where a cgroup v2 hierarchy is mounted. In hybrid hierarchies that is not
// /sys/fs/cgroup.
func findCgroup(mounts string) (string, error) {
	f, err := os.Open(mounts)
	if err != nil {
		return "", fmt.Errorf("ebpf: find cgroup v2: %w", err)
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if fields := strings.Fields(scan.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[1]), nil
		}
	}
	return "", fmt.Errorf("ebpf: find cgroup v2: no file system of type cgroup2 in %s: %w", mounts, errors.ErrUnsupported)
}

// preparePinDirectory creates a directory in a BPF file system, which it mounts at its usual place
// if that is missing.
func preparePinDirectory(dir string) error {
	if strings.HasPrefix(dir, bpfMount+"/") && !isBPF(bpfMount) {
		if err := unix.Mount("bpf", bpfMount, "bpf", 0, ""); err != nil {
			return fmt.Errorf("ebpf: mount BPF file system at %s: %w: %w", bpfMount, errors.ErrUnsupported, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ebpf: PinDirectory: %w", err)
	}
	if !isBPF(dir) {
		return fmt.Errorf("ebpf: PinDirectory: %s is not in a BPF file system: mount one with `mount -t bpf bpf DIRECTORY`", dir)
	}
	return nil
}

func isBPF(dir string) bool {
	info := unix.Statfs_t{}
	return unix.Statfs(dir, &info) == nil && uint32(info.Type) == unix.BPF_FS_MAGIC
}

// netnsCookie returns the cookie of the network namespace of the calling thread.
func netnsCookie() (uint64, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("ebpf: cookie of network namespace: %w", err)
	}
	defer unix.Close(s)
	cookie, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, fmt.Errorf("ebpf: the backend needs Linux %s; this kernel lacks SO_NETNS_COOKIE (Linux 5.14): %w: %w", minimumLinux, errors.ErrUnsupported, err)
	}
	if err != nil {
		return 0, fmt.Errorf("ebpf: cookie of network namespace: %w", err)
	}
	return cookie, nil
}

// explain adds to an error what the kernel or the process lacks.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("ebpf: load programs: the process needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: %w", err)
	}
	var missing []string
	need := func(err error, what, since string) {
		if errors.Is(err, ebpf.ErrNotSupported) {
			missing = append(missing, what+" (Linux "+since+")")
		}
	}
	need(features.HaveMapType(ebpf.SkStorage), "socket storage", "5.2")
	need(features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnGetNetnsCookie), "bpf_get_netns_cookie", "5.7")
	need(features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnLoop), "bpf_loop", "5.17")
	need(features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval), "bpf_set_retval", "5.18")
	if len(missing) == 0 {
		return fmt.Errorf("ebpf: load programs: %w", err)
	}
	return fmt.Errorf("ebpf: load programs: the backend needs Linux %s; this kernel lacks %s: %w: %w", minimumLinux,
		strings.Join(missing, ", "), errors.ErrUnsupported, err)
}
