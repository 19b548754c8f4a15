// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
)

// Values of the map of namespaces.
const (
	namespaceExcluded uint8 = iota
	namespaceIncluded
)

// listNamespaces writes the namespaces of the configuration.
func (k *linuxKernel) listNamespaces() error {
	for _, path := range k.cfg.ExcludedNamespaces {
		cookie, err := k.setNamespace(path, namespaceExcluded)
		if err != nil {
			return err
		}
		k.configured = append(k.configured, cookie)
	}
	for _, path := range k.cfg.OnlyNamespaces {
		cookie, err := k.setNamespace(path, namespaceIncluded)
		if err != nil {
			return err
		}
		k.configured, k.only = append(k.configured, cookie), append(k.only, cookie)
	}
	return nil
}

// setNamespace sets the value of a network namespace in the map, and returns its cookie.
func (k *linuxKernel) setNamespace(path string, value uint8) (cookie uint64, err error) {
	cookie, err = namespaceCookie(path)
	if err != nil {
		return 0, err
	}
	k.namespaces.Lock() // no other call forgets the new entry
	defer k.namespaces.Unlock()
	listed := k.shared[bytecode.ServicesMapNamespaces]
	err = listed.Put(&cookie, &value)
	if errors.Is(err, unix.E2BIG) {
		if err = k.forgetEndedNamespaces(listed); err == nil {
			err = listed.Put(&cookie, &value)
		}
	}
	return cookie, wrap("ebpf: network namespace "+path, err)
}

func namespaceCookie(path string) (uint64, error) {
	ns, cookie, err := openNamespace(path, map[uint64]bool{})
	if err != nil {
		return 0, fmt.Errorf("ebpf: network namespace %s: %w", path, err)
	}
	return cookie, wrap("ebpf: network namespace "+path, ns.Close())
}

// forgetEndedNamespaces deletes the entries of network namespaces that are not found any more, and
// not configured. The map is pinned, and without that full once it has had an entry for each of
// many pods.
func (k *linuxKernel) forgetEndedNamespaces(listed *ebpf.Map) error {
	paths, err := k.cfg.FindNamespaces()
	if err != nil {
		return err
	}
	exist, seen := map[uint64]bool{}, map[uint64]bool{} // cookies, inodes
	for _, path := range paths {
		ns, cookie, err := openNamespace(path, seen)
		switch {
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH): // the process or the namespace has ended
		case err != nil:
			return err // it may have an entry
		case ns != nil: // otherwise the namespace is known
			exist[cookie] = true
			if err := ns.Close(); err != nil {
				return err
			}
		}
	}
	var ended []uint64
	var cookie uint64
	var value uint8
	all := listed.Iterate()
	for all.Next(&cookie, &value) {
		if !exist[cookie] && !slices.Contains(k.configured, cookie) {
			ended = append(ended, cookie)
		}
	}
	err = all.Err()
	k.cfg.Logger.Warn("The map of network namespaces is full; entries of those that are not found are forgotten", "forgotten", len(ended))
	for i := range ended {
		if e := listed.Delete(&ended[i]); !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// ExcludeNamespace leaves the sockets of a network namespace alone from now on, also those of
// later processes in it. path is such as /proc/PID/ns/net. Connections that exist are unaffected.
// The exclusion outlives the process of the backend, unless OnlyNamespaces of the next one lists the
// namespace.
//
// The map of namespaces has room for 1024. When it is full, those that Config.FindNamespaces does
// not find are forgotten.
func (b *Backend) ExcludeNamespace(path string) error {
	k, ok := b.kernel.(*linuxKernel)
	if !ok {
		return errors.ErrUnsupported
	}
	_, err := k.setNamespace(path, namespaceExcluded)
	return err
}

// IncludeNamespace reverts ExcludeNamespace. With Config.OnlyNamespaces, only sockets of these
// are served nevertheless.
func (b *Backend) IncludeNamespace(path string) error {
	k, ok := b.kernel.(*linuxKernel)
	if !ok {
		return errors.ErrUnsupported
	}
	cookie, err := namespaceCookie(path)
	if err != nil {
		return err
	}
	if slices.Contains(k.only, cookie) {
		_, err := k.setNamespace(path, namespaceIncluded)
		return err
	}
	err = k.shared[bytecode.ServicesMapNamespaces].Delete(&cookie)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return wrap("ebpf: network namespace "+path, err)
}
