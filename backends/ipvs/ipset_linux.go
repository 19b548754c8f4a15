// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// elementsPerMessage is the number of elements of one message. One element has at most 100
	// bytes, a message 64 KiB.
	elementsPerMessage = 500
	// maxElements is the maximum size of a set.
	maxElements = 1 << 24
	// flagListHeader asks for the properties of a set without its elements.
	flagListHeader = 1 << 2
)

// A setType is a type of IP sets of the kernel, in the oldest revision that has what is used.
type setType struct {
	name     string
	revision uint8
}

func (s setName) kind() setType {
	switch s {
	case setAddresses:
		return setType{"hash:ip", 3}
	case setSources:
		return setType{"hash:ip,port,net", 5}
	case setRestricted, setPods, setNode, setPodsAndNode, setServices, setCount:
	}
	return setType{"hash:ip,port", 5}
}

// setRequest returns a request about a set.
func (k *linuxKernel) setRequest(command, flags int, name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(command|unix.NFNL_SUBSYS_IPSET<<8, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: k.sets}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
	return req
}

// executeSet sends a request and returns the replies. action is for the error.
func executeSet(req *nl.NetlinkRequest, action, name string) ([][]byte, error) {
	messages, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err == nil {
		return messages, nil
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) && errno >= nl.IPSET_ERR_PRIVATE {
		err = nl.IPSetError(errno)
	}
	return nil, fmt.Errorf("ipvs: %s IP set %s: %w", action, name, err)
}

// temporary is the suffix of the names of sets that replace others.
const temporary = "-NEW"

// ReplaceSets fills new sets, and exchanges each with the present one.
func (k *linuxKernel) ReplaceSets(elements map[element]mark) error {
	for _, isIPv6 := range k.families {
		for _, set := range setNames() {
			var list []element
			for e := range elements {
				if e.set == set && e.addr.Is6() == isIPv6 {
					list = append(list, e)
				}
			}
			if err := k.replaceSet(set, isIPv6, list, elements); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *linuxKernel) replaceSet(set setName, isIPv6 bool, list []element, marks map[element]mark) error {
	name := familySet(set, isIPv6)
	if err := k.destroySet(name + temporary); err != nil { // of a process that was killed
		return err
	}
	if err := k.createSet(set, isIPv6, name+temporary, len(list)); err != nil {
		return err
	}
	if err := k.changeElements(nl.IPSET_CMD_ADD, name+temporary, list, marks); err != nil {
		return err
	}
	if err := k.createSet(set, isIPv6, name, 0); err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	req := k.setRequest(nl.IPSET_CMD_SWAP, unix.NLM_F_ACK, name)
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME2, nl.ZeroTerminated(name+temporary)))
	if _, err := executeSet(req, "replace", name); err != nil {
		return err
	}
	return k.destroySet(name + temporary)
}

// createSet creates a set with room for a number of elements. The set grows if necessary.
func (k *linuxKernel) createSet(set setName, isIPv6 bool, name string, size int) error {
	req := k.setRequest(nl.IPSET_CMD_CREATE, unix.NLM_F_ACK|unix.NLM_F_EXCL, name)
	family := uint8(unix.AF_INET)
	if isIPv6 {
		family = unix.AF_INET6
	}
	kind := set.kind()
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_TYPENAME, nl.ZeroTerminated(kind.name)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_REVISION, nl.Uint8Attr(kind.revision)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_FAMILY, nl.Uint8Attr(family)))
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
	number := func(attribute int, value uint32) {
		data.AddRtAttr(attribute|int(nl.NLA_F_NET_BYTEORDER), binary.BigEndian.AppendUint32(nil, value))
	}
	number(nl.IPSET_ATTR_MAXELEM, maxElements)
	number(nl.IPSET_ATTR_HASHSIZE, uint32(max(size/4, 1024)))
	if set.hasMarks() {
		number(nl.IPSET_ATTR_CADT_FLAGS, nl.IPSET_FLAG_WITH_SKBINFO)
	}
	req.AddData(data)
	_, err := executeSet(req, "create", name)
	return err
}

// destroySet destroys a set if there is one.
func (k *linuxKernel) destroySet(name string) error {
	_, err := executeSet(k.setRequest(nl.IPSET_CMD_DESTROY, unix.NLM_F_ACK, name), "destroy", name)
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

func (k *linuxKernel) PutElements(set setName, elements []element, marks map[element]mark) error {
	return k.changeBoth(nl.IPSET_CMD_ADD, set, elements, marks)
}

func (k *linuxKernel) DeleteElements(set setName, elements []element) error {
	return k.changeBoth(nl.IPSET_CMD_DEL, set, elements, nil)
}

// changeBoth changes the sets of both families.
func (k *linuxKernel) changeBoth(command int, set setName, elements []element, marks map[element]mark) error {
	for _, isIPv6 := range k.families {
		list := slices.DeleteFunc(slices.Clone(elements), func(e element) bool { return e.addr.Is6() != isIPv6 })
		if err := k.changeElements(command, familySet(set, isIPv6), list, marks); err != nil {
			return err
		}
	}
	return nil
}

// changeElements adds or deletes elements of one set. Without NLM_F_EXCL, the kernel replaces the
// mark of a present element, and ignores an absent one.
func (k *linuxKernel) changeElements(command int, name string, elements []element, marks map[element]mark) error {
	for part := range slices.Chunk(elements, elementsPerMessage) {
		req := k.setRequest(command, unix.NLM_F_ACK, name)
		req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_LINENO|int(nl.NLA_F_NET_BYTEORDER), nl.Uint32Attr(0)))
		list := nl.NewRtAttr(nl.IPSET_ATTR_ADT|int(nl.NLA_F_NESTED), nil)
		for _, e := range part {
			addElement(list, e, marks[e])
		}
		req.AddData(list)
		if _, err := executeSet(req, "change", name); err != nil {
			return err
		}
	}
	return nil
}

// addElement adds the attributes of an element to a list.
func addElement(list *nl.RtAttr, e element, m mark) {
	data := list.AddRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
	addSetAddr(data, nl.IPSET_ATTR_IP, e.addr)
	if e.set == setAddresses {
		return
	}
	data.AddRtAttr(nl.IPSET_ATTR_PORT|int(nl.NLA_F_NET_BYTEORDER), binary.BigEndian.AppendUint16(nil, e.port))
	data.AddRtAttr(nl.IPSET_ATTR_PROTO, nl.Uint8Attr(uint8(e.protocol)))
	if e.network.IsValid() {
		addSetAddr(data, nl.IPSET_ATTR_IP2, e.network.Addr())
		data.AddRtAttr(nl.IPSET_ATTR_CIDR2, nl.Uint8Attr(uint8(e.network.Bits())))
	}
	if e.set.hasMarks() {
		value := uint64(m.value)<<32 | uint64(m.mask)
		data.AddRtAttr(nl.IPSET_ATTR_SKBMARK|int(nl.NLA_F_NET_BYTEORDER), binary.BigEndian.AppendUint64(nil, value))
	}
}

func addSetAddr(data *nl.RtAttr, attribute int, addr netip.Addr) {
	nested := data.AddRtAttr(attribute|int(nl.NLA_F_NESTED), nil)
	kind := nl.IPSET_ATTR_IPADDR_IPV4
	if addr.Is6() {
		kind = nl.IPSET_ATTR_IPADDR_IPV6
	}
	nested.AddRtAttr(kind|int(nl.NLA_F_NET_BYTEORDER), addr.AsSlice())
}

// SetSizes asks for the headers of all sets. An absent set has the size zero.
func (k *linuxKernel) SetSizes() (map[setName]setSize, error) {
	sizes := map[setName]setSize{}
	for _, isIPv6 := range k.families {
		for _, set := range setNames() {
			name := familySet(set, isIPv6)
			req := k.setRequest(nl.IPSET_CMD_LIST, unix.NLM_F_DUMP|unix.NLM_F_ACK, name)
			req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_FLAGS|int(nl.NLA_F_NET_BYTEORDER), binary.BigEndian.AppendUint32(nil, flagListHeader)))
			messages, err := executeSet(req, "list", name)
			if err != nil && !errors.Is(err, syscall.ENOENT) {
				return nil, err
			}
			total := sizes[set]
			for _, message := range messages {
				size := parseSetSize(message)
				total.elements += size.elements
				total.references += size.references
			}
			sizes[set] = total
		}
	}
	return sizes, nil
}

// parseSetSize parses the header of a set.
func parseSetSize(message []byte) (size setSize) {
	for kind, data := range parseAttributes(message[min(nl.SizeofNfgenmsg, len(message)):]) {
		if kind != nl.IPSET_ATTR_DATA {
			continue
		}
		for kind, value := range parseAttributes(data) {
			switch {
			case len(value) < 4:
			case kind == nl.IPSET_ATTR_ELEMENTS:
				size.elements = int(binary.BigEndian.Uint32(value))
			case kind == nl.IPSET_ATTR_REFERENCES:
				size.references = int(binary.BigEndian.Uint32(value))
			}
		}
	}
	return size
}

// parseAttributes yields the netlink attributes in data with their types, up to an invalid one.
func parseAttributes(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for len(data) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(data))
			if size < unix.SizeofRtAttr || size > len(data) ||
				!yield(int(binary.NativeEndian.Uint16(data[2:])&nl.NLA_TYPE_MASK), data[unix.SizeofRtAttr:size]) {
				return
			}
			data = data[min((size+3)&^3, len(data)):]
		}
	}
}

// listedServices returns the virtual servers in the sets of Services, which have node ports too.
func (k *linuxKernel) listedServices() (map[serverKey]bool, error) {
	listed := map[serverKey]bool{}
	for _, isIPv6 := range k.families {
		name := familySet(setServices, isIPv6)
		messages, err := executeSet(k.setRequest(nl.IPSET_CMD_LIST, unix.NLM_F_DUMP|unix.NLM_F_ACK, name), "list", name)
		switch {
		case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP):
			continue // there is no set, or the kernel has none
		case err != nil:
			return nil, err
		}
		for _, message := range messages {
			for kind, list := range parseAttributes(message[min(nl.SizeofNfgenmsg, len(message)):]) {
				if kind != nl.IPSET_ATTR_ADT {
					continue
				}
				for _, data := range parseAttributes(list) {
					listed[parseServer(data)] = true
				}
			}
		}
	}
	return listed, nil
}

// parseServer parses an element of a set of Services.
func parseServer(data []byte) (key serverKey) {
	var addr netip.Addr
	var port uint16
	for kind, value := range parseAttributes(data) {
		switch {
		case kind == nl.IPSET_ATTR_IP:
			for _, ip := range parseAttributes(value) {
				addr, _ = netip.AddrFromSlice(ip)
			}
		case kind == nl.IPSET_ATTR_PORT && len(value) >= 2:
			port = binary.BigEndian.Uint16(value)
		case kind == nl.IPSET_ATTR_PROTO && len(value) >= 1:
			key.protocol = localsink.Protocol(value[0])
		}
	}
	key.addr = netip.AddrPortFrom(addr, port)
	return key
}

// removeSets destroys all sets.
func (k *linuxKernel) removeSets() error {
	var errs []error
	for _, isIPv6 := range k.families {
		for _, set := range setNames() {
			errs = append(errs, k.destroySet(familySet(set, isIPv6)))
		}
	}
	return errors.Join(errs...)
}
