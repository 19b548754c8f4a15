// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
)

// hooks returns the programs in the order in which they are attached: those for answers and for the
// end of a socket come first.
func hooks() []string {
	return []string{"released", "getpeername4", "getpeername6", "recvmsg4", "recvmsg6", "sendmsg4", "sendmsg6", "connect4", "connect6"}
}

// sharedMaps returns the maps with the state of connections, which all versions of the programs
// and later processes use.
func sharedMaps() []string {
	return []string{
		bytecode.ServicesMapNamespaces, bytecode.ServicesMapAffinity, bytecode.ServicesMapFlows,
		bytecode.ServicesMapReverse, bytecode.ServicesMapConnected, bytecode.ServicesMapPeers,
	}
}

// A linuxKernel attaches programs to a cgroup. Sync and Close of the Backend call its methods,
// and goroutines of the Backend closeSockets and readRewrites.
type linuxKernel struct {
	cfg        Config
	cgroupID   uint64
	hostNetns  uint64   // cookie
	hostFile   *os.File // the network namespace
	shared     map[string]*ebpf.Map
	namespaces sync.Mutex // held while the map of namespaces is written
	only       []uint64   // cookies of Config.OnlyNamespaces
	configured []uint64   // these, and those of Config.ExcludedNamespaces
	links      map[string]link.Link
	programs   map[string]ebpf.ProgramID // attached
	outside    *ebpf.Program             // for packets from outside; nil without devices
	devices    map[int]*device           // that have it, by index
	cleaned    bool                      // devices of former processes are detached
	withoutTCX bool                      // the kernel is older than Linux 6.6
	destroyer  destroyer
	rewrites   *ringbuf.Reader // nil if rewrites are not recorded
}

// newLinuxKernel opens or creates what is shared with other processes, and checks whether the
// programs can be loaded.
func newLinuxKernel(cfg Config) (*linuxKernel, error) {
	k := &linuxKernel{cfg: cfg, shared: map[string]*ebpf.Map{}, links: map[string]link.Link{}, programs: map[string]ebpf.ProgramID{}, devices: map[int]*device{}}
	if err := k.open(); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

func (k *linuxKernel) open() (err error) {
	if k.cfg.Cgroup == "" {
		if k.cfg.Cgroup, err = findCgroup("/proc/self/mounts"); err != nil {
			return err
		}
	}
	info := unix.Stat_t{}
	if err := unix.Stat(k.cfg.Cgroup, &info); err != nil {
		return fmt.Errorf("ebpf: cgroup %s: %w", k.cfg.Cgroup, err)
	}
	k.cgroupID = info.Ino
	if k.hostFile, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return fmt.Errorf("ebpf: open network namespace: %w", err)
	}
	if k.hostNetns, err = netnsCookie(); err != nil {
		return err
	}
	if err := preparePinDirectory(k.cfg.PinDirectory); err != nil {
		return err
	}
	spec, err := bytecode.LoadServices()
	if err != nil {
		return fmt.Errorf("ebpf: %w", err)
	}
	for _, name := range sharedMaps() {
		if k.shared[name], err = openShared(k.path(name), spec.Maps[name]); err != nil {
			return explain(fmt.Errorf("map %s: %w", name, err))
		}
	}
	if err := k.openRewrites(spec.Maps[bytecode.ServicesMapRewrites]); err != nil {
		return explain(fmt.Errorf("map %s: %w", bytecode.ServicesMapRewrites, err))
	}
	probe, err := k.load(sizes{}.withRoom())
	if err != nil {
		return explain(err)
	}
	if err := errors.Join(probe.close(), k.listNamespaces()); err != nil {
		return err
	}
	k.destroyer = newDestroyer()
	return nil
}

func (k *linuxKernel) path(name string) string { return filepath.Join(k.cfg.PinDirectory, name) }

// openShared opens a pinned map, or creates and pins it. An incompatible one, of another version,
// is replaced.
func openShared(path string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err == nil {
		if spec.Compatible(m) == nil {
			return m, nil
		}
		if err := errors.Join(m.Unpin(), m.Close()); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if m, err = ebpf.NewMap(spec); err != nil {
		return nil, err
	}
	if err := m.Pin(path); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// load implements kernel.
func (k *linuxKernel) load(s sizes) (maps, error) {
	spec, err := bytecode.LoadServices()
	if err != nil {
		return nil, err
	}
	for name, n := range map[string]uint32{
		bytecode.ServicesMapFrontends: s.frontends, bytecode.ServicesMapRecords: s.records, bytecode.ServicesMapSlots: s.slots,
		bytecode.ServicesMapTables: s.cells, bytecode.ServicesMapRanges: s.ranges, bytecode.ServicesMapLocalAddrs: s.addrs,
		bytecode.ServicesMapCounters: s.counters,
	} {
		spec.Maps[name].MaxEntries = n
	}
	spec.Maps[bytecode.ServicesMapRewrites].MaxEntries = k.shared[bytecode.ServicesMapRewrites].MaxEntries()
	flag := func(set bool) uint8 {
		if set {
			return 1
		}
		return 0
	}
	for name, value := range map[string]any{
		bytecode.ServicesVarHostNetns: k.hostNetns, bytecode.ServicesVarOnlyListed: flag(k.cfg.OnlyNamespaces != nil),
		bytecode.ServicesVarCounting: flag(k.cfg.CountConnections), bytecode.ServicesVarRecording: flag(k.cfg.RecentRewrites > 0),
		bytecode.ServicesVarStandalone: flag(!k.cfg.Combined),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: k.shared})
	if err != nil {
		return nil, err
	}
	m, err := newLinuxMaps(c)
	if err != nil || len(k.cfg.Devices) == 0 {
		return m, err
	}
	if err := m.loadOutside(k.cfg.CountConnections); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// attach implements kernel.
func (k *linuxKernel) attach(m maps) error {
	c := m.(*linuxMaps).collection //nolint:forcetypeassert // load returned it
	for _, name := range hooks() {
		program := c.Programs[name]
		if err := k.attachHook(name, program); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		info, err := program.Info()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		k.programs[name], _ = info.ID()
	}
	k.outside = m.(*linuxMaps).outside //nolint:forcetypeassert // see above
	return nil
}

// attachHook replaces the program of a link, or creates the link.
func (k *linuxKernel) attachHook(name string, program *ebpf.Program) error {
	old, err := link.LoadPinnedLink(k.path(name), nil)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if old != nil && k.isAttached(old) && old.Update(program) == nil {
		return k.setLink(name, old)
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: k.cfg.Cgroup, Attach: attachType(name), Program: program})
	if err != nil {
		return err
	}
	if old != nil {
		if err := errors.Join(old.Unpin(), old.Close()); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if err := l.Pin(k.path(name)); err != nil {
		return errors.Join(err, l.Close())
	}
	return k.setLink(name, l)
}

// isAttached reports whether a link is attached to the cgroup of the configuration.
func (k *linuxKernel) isAttached(l link.Link) bool {
	info, err := l.Info()
	return err == nil && info.Cgroup() != nil && info.Cgroup().CgroupId == k.cgroupID
}

func (k *linuxKernel) setLink(name string, l link.Link) error {
	old := k.links[name]
	k.links[name] = l
	if old == nil {
		return nil
	}
	return old.Close()
}

func attachType(hook string) ebpf.AttachType {
	return map[string]ebpf.AttachType{
		"released":     ebpf.AttachCgroupInetSockRelease,
		"getpeername4": ebpf.AttachCgroupInet4GetPeername, "getpeername6": ebpf.AttachCgroupInet6GetPeername,
		"recvmsg4": ebpf.AttachCGroupUDP4Recvmsg, "recvmsg6": ebpf.AttachCGroupUDP6Recvmsg,
		"sendmsg4": ebpf.AttachCGroupUDP4Sendmsg, "sendmsg6": ebpf.AttachCGroupUDP6Sendmsg,
		"connect4": ebpf.AttachCGroupInet4Connect, "connect6": ebpf.AttachCGroupInet6Connect,
	}[hook]
}

// intact implements kernel.
func (k *linuxKernel) intact() (bool, error) {
	for _, name := range hooks() {
		l := k.links[name]
		if l == nil {
			return false, nil
		}
		if _, err := os.Stat(k.path(name)); errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		info, err := l.Info()
		if err != nil {
			return false, fmt.Errorf("ebpf: link of %s: %w", name, err)
		}
		if info.Program != k.programs[name] || !k.isAttached(l) {
			return false, nil
		}
	}
	return true, nil
}

// closeSockets implements kernel.
func (k *linuxKernel) closeSockets(ctx context.Context, isRemoved func(frontendKey, endpointKey) bool) (int, error) {
	victims, err := k.findVictims(isRemoved)
	if err != nil || len(victims) == 0 {
		return 0, err
	}
	return k.destroy(ctx, victims)
}

func (k *linuxKernel) close() error {
	var errs []error
	if k.rewrites != nil {
		errs = append(errs, k.rewrites.Close())
	}
	for _, l := range k.links {
		errs = append(errs, l.Close())
	}
	for _, d := range k.devices {
		errs = append(errs, d.close())
	}
	for _, m := range k.shared {
		errs = append(errs, m.Close())
	}
	if k.destroyer != nil {
		errs = append(errs, k.destroyer.close())
	}
	if k.hostFile != nil {
		errs = append(errs, k.hostFile.Close())
	}
	return errors.Join(errs...)
}
