// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
	"sigs.k8s.io/kpng/localsink"
)

// minimumLinuxDevices is the first version with the functions of packets.bpf.c.
const minimumLinuxDevices = "6.1"

// Names of what is attached to devices. Names in a BPF file system have no dots, but names of devices
// do, so the pins have indices.
const (
	devicePin      = "device-"
	filterName     = "kpng"
	filterPriority = 0x6b70
)

// A device is a network device with the program for packets from outside.
type device struct {
	link    link.Link // nil before Linux 6.6, which has no links of tc
	program ebpf.ProgramID
}

func (d *device) close() error {
	if d.link == nil {
		return nil
	}
	return d.link.Close()
}

// detach detaches the program from the device, which may be gone.
func (d *device) detach(index int) error {
	if d.link != nil {
		return detachLink(d.link)
	}
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil //nolint:nilerr // the device is gone
	}
	return detachFilter(l)
}

func detachLink(l link.Link) error {
	_ = l.Detach() // fails if the device is gone
	return errors.Join(l.Unpin(), l.Close())
}

func detachFilter(l netlink.Link) error {
	f, err := findFilter(l)
	if err != nil || f == nil {
		return err
	}
	return netlink.FilterDel(f)
}

// loadOutside loads the program for packets from outside, with the maps of m.
func (m *linuxMaps) loadOutside(counting bool) error {
	spec, err := bytecode.LoadPackets()
	if err != nil {
		return err
	}
	shared := map[string]*ebpf.Map{}
	for name, s := range spec.Maps {
		if strings.HasPrefix(name, ".") {
			continue // constants
		}
		shared[name] = m.collection.Maps[name]
		s.MaxEntries = shared[name].MaxEntries()
	}
	value := uint8(0)
	if counting {
		value = 1
	}
	if err := spec.Variables[bytecode.PacketsVarCounting].Set(value); err != nil {
		return fmt.Errorf("variable %s: %w", bytecode.PacketsVarCounting, err)
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return explainDevices(err)
	}
	defer c.Close()
	m.outside = c.DetachProgram(bytecode.PacketsProgOutside)
	return nil
}

// explainDevices adds to an error what the kernel lacks.
func explainDevices(err error) error {
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("Devices: needs Linux %s with the connection tracking and address translation of netfilter (modules nf_conntrack, nf_nat): %w: %w",
			minimumLinuxDevices, errors.ErrUnsupported, err)
	}
	return fmt.Errorf("Devices: load program: %w", err)
}

// attachDevices implements kernel.
func (k *linuxKernel) attachDevices(pods *localsink.PodSources) error {
	if k.outside == nil && k.cleaned {
		return nil
	}
	return k.inNodeNamespace(func() error {
		all, err := listDevices()
		if err != nil {
			return err
		}
		var errs []error
		selected := map[int]bool{}
		for _, l := range all {
			a := l.Attrs()
			if k.outside == nil || !k.selects(a, pods) {
				continue
			}
			selected[a.Index] = true
			if err := k.attachDevice(l); err != nil && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("device %s: %w", a.Name, err))
				selected[a.Index] = false // the program of an earlier load must not stay
			}
		}
		for index, d := range k.devices {
			if !selected[index] {
				errs = append(errs, d.detach(index))
				delete(k.devices, index)
			}
		}
		if !k.cleaned {
			k.cleaned = true
			errs = append(errs, removeDevices(k.cfg.PinDirectory, selected))
		}
		return errors.Join(errs...)
	})
}

// listDevices returns the network devices of the thread's namespace. The kernel interrupts a list
// while devices change.
func listDevices() (all []netlink.Link, err error) {
	for range 10 {
		if all, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, wrap("list network devices", err)
}

// inNodeNamespace runs f on a thread in the network namespace of the node. That of the process
// usually is it, and then no privilege is needed.
func (k *linuxKernel) inNodeNamespace(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var node, own unix.Stat_t
	if unix.Fstat(int(k.hostFile.Fd()), &node) == nil && unix.Stat("/proc/thread-self/ns/net", &own) == nil && node.Dev == own.Dev && node.Ino == own.Ino {
		return f()
	}
	return inNamespace(k.hostFile, f)
}

// selects reports whether the configuration selects a device.
func (k *linuxKernel) selects(a *netlink.LinkAttrs, pods *localsink.PodSources) bool {
	if a.Flags&unix.IFF_LOOPBACK != 0 || (pods.Interface != "" && a.Name == pods.Interface) ||
		(pods.InterfacePrefix != "" && strings.HasPrefix(a.Name, pods.InterfacePrefix)) {
		return false
	}
	for _, pattern := range k.cfg.Devices {
		if ok, _ := path.Match(pattern, a.Name); ok {
			return true
		}
	}
	return false
}

// attachDevice replaces the program of a device, at once, or attaches it.
func (k *linuxKernel) attachDevice(l netlink.Link) error {
	info, err := k.outside.Info()
	if err != nil {
		return err
	}
	id, _ := info.ID()
	index := l.Attrs().Index
	pin := filepath.Join(k.cfg.PinDirectory, devicePin+strconv.Itoa(index))
	d := k.devices[index]
	if d != nil && d.program == id && d.isAttached(l, pin) {
		return nil
	}
	next := &device{program: id}
	if !k.withoutTCX {
		next.link, err = attachTCX(index, pin, k.outside)
		k.withoutTCX = errors.Is(err, ebpf.ErrNotSupported)
	}
	if k.withoutTCX {
		err = attachFilter(l, k.outside)
	}
	if err != nil {
		return err
	}
	k.devices[index] = next
	if d == nil {
		return nil
	}
	return d.close()
}

// isAttached reports whether no other program has detached or replaced that of the device.
func (d *device) isAttached(l netlink.Link, pin string) bool {
	if d.link == nil {
		f, err := findFilter(l)
		return err == nil && f != nil && f.Id == int(d.program)
	}
	if _, err := os.Stat(pin); err != nil {
		return false
	}
	info, err := d.link.Info()
	return err == nil && info.Program == d.program && isTCXOf(info, l.Attrs().Index)
}

func isTCXOf(info *link.Info, index int) bool {
	t := info.TCX()
	return t != nil && int(t.Ifindex) == index
}

// attachTCX replaces the program of a pinned link, or creates the link.
func attachTCX(index int, pin string, program *ebpf.Program) (link.Link, error) {
	old, err := link.LoadPinnedLink(pin, nil)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if old != nil {
		// The link of a device that is gone has no index, and another device may have its index now.
		if info, err := old.Info(); err == nil && isTCXOf(info, index) && old.Update(program) == nil {
			return old, nil
		}
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: program, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := errors.Join(old.Unpin(), old.Close()); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	if err := l.Pin(pin); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// attachFilter replaces the filter of a device, or adds one.
func attachFilter(l netlink.Link, program *ebpf.Program) error {
	index := l.Attrs().Index
	err := netlink.QdiscAdd(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}, QdiscType: "clsact",
	})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add qdisc clsact: %w", err)
	}
	return wrap("replace filter", netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: program.FD(), Name: filterName, DirectAction: true,
	}))
}

// findFilter returns the filter of a device, nil if it has none.
func findFilter(l netlink.Link) (*netlink.BpfFilter, error) {
	all, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	for _, f := range all {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Name == filterName {
			return b, nil
		}
	}
	return nil, nil //nolint:nilnil // no filter and no error
}

// removeDevices detaches what this and former processes attached to devices in the network namespace
// of the thread, apart from those to keep, by index.
func removeDevices(pins string, keep map[int]bool) error {
	paths, err := filepath.Glob(filepath.Join(pins, devicePin+"*"))
	errs := []error{err}
	for _, pin := range paths {
		if index, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(pin), devicePin)); err == nil && keep[index] {
			continue
		}
		l, err := link.LoadPinnedLink(pin, nil)
		if err == nil {
			err = detachLink(l)
		}
		errs = append(errs, err)
	}
	all, err := listDevices()
	errs = append(errs, err)
	for _, l := range all {
		if keep[l.Attrs().Index] {
			continue
		}
		err := detachFilter(l)
		if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EOPNOTSUPP) { // the device is gone; the kernel has no filters
			errs = append(errs, err)
		}
	}
	return wrap("detach from network devices", errors.Join(errs...))
}
