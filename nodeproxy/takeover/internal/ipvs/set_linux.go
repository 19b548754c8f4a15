// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// maxSetName is the maximum length of the name of an IP set; kube-proxy cuts longer ones.
const maxSetName = 31

// setNames returns the names of kube-proxy's IP sets, of one address family. Prefixes would
// not do: kube-router's sets have names like KUBE-SRC-...
func setNames(isIPv6 bool) []string {
	prefix := "KUBE-"
	if isIPv6 {
		prefix = "KUBE-6-"
	}
	var names []string
	for name := range strings.FieldsSeq(`LOOP-BACK CLUSTER-IP EXTERNAL-IP EXTERNAL-IP-LOCAL LOAD-BALANCER LOAD-BALANCER-LOCAL
		LOAD-BALANCER-FW LOAD-BALANCER-SOURCE-IP LOAD-BALANCER-SOURCE-CIDR NODE-PORT-TCP NODE-PORT-LOCAL-TCP NODE-PORT-UDP
		NODE-PORT-LOCAL-UDP NODE-PORT-SCTP NODE-PORT-LOCAL-SCTP NODE-PORT-SCTP-HASH NODE-PORT-LOCAL-SCTP-HASH
		HEALTH-CHECK-NODE-PORT IPVS-IPS`) {
		name = prefix + name
		names = append(names, name[:min(len(name), maxSetName)])
	}
	return names
}

// A portKey is a node port.
type portKey struct {
	protocol uint16
	port     uint16
	isIPv6   bool
}

// nodePorts returns the elements of the sets of node ports.
func nodePorts() (map[portKey]bool, error) {
	ports := map[portKey]bool{}
	for _, isIPv6 := range []bool{false, true} {
		for _, name := range setNames(isIPv6) {
			if !strings.Contains(name, "-NODE-PORT-") { // HEALTH-CHECK-NODE-PORT has none of a Service
				continue
			}
			key := portKey{protocol: unix.IPPROTO_TCP, isIPv6: isIPv6}
			switch {
			case strings.Contains(name, "-UDP"):
				key.protocol = unix.IPPROTO_UDP
			case strings.Contains(name, "-SCTP"):
				key.protocol = unix.IPPROTO_SCTP
			}
			elements, err := portsOfSet(name)
			if err != nil {
				return nil, err
			}
			for _, key.port = range elements {
				ports[key] = true
			}
		}
	}
	return ports, nil
}

// setRequest returns a request about a set.
func setRequest(command int, name string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(command|unix.NFNL_SUBSYS_IPSET<<8, nl.GetIpsetFlags(command))
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
	return req
}

// haveSets reports whether the kernel module of IP sets is loaded. A request would load it.
func haveSets() bool {
	_, err := os.Stat("/sys/module/ip_set")
	return !errors.Is(err, os.ErrNotExist)
}

// portsOfSet returns the ports of the elements of a set; none if there is no such set.
func portsOfSet(name string) (ports []uint16, err error) {
	if !haveSets() {
		return nil, nil
	}
	messages, err := setRequest(nl.IPSET_CMD_LIST, name).Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, syscall.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list IP set %s: %w", name, setError(err))
	}
	for _, message := range messages {
		if len(message) < nl.SizeofNfgenmsg {
			return nil, fmt.Errorf("list IP set %s: message of %d bytes", name, len(message))
		}
		for kind, elements := range attributes(message[nl.SizeofNfgenmsg:]) {
			if kind != nl.IPSET_ATTR_ADT {
				continue
			}
			for _, element := range attributes(elements) {
				for kind, port := range attributes(element) {
					if kind == nl.IPSET_ATTR_PORT && len(port) >= 2 {
						ports = append(ports, binary.BigEndian.Uint16(port))
					}
				}
			}
		}
	}
	return ports, nil
}

const (
	// busyTimeout is how long a set may remain in use: nf_tables releases the references of
	// deleted rules a moment later.
	busyTimeout  = 2 * time.Second
	busyInterval = 10 * time.Millisecond
)

// destroySets destroys kube-proxy's sets, and returns the names of those that are in use.
func destroySets(ctx context.Context) (destroyed int, kept []string, err error) {
	if !haveSets() {
		return 0, nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	ticker := time.NewTicker(busyInterval)
	defer ticker.Stop()
	var errs []error
	for _, name := range append(setNames(false), setNames(true)...) {
		for retry := true; retry; {
			req := setRequest(nl.IPSET_CMD_DESTROY, name)
			req.Flags |= unix.NLM_F_EXCL // an absent set is an error
			_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
			retry = errors.Is(err, syscall.Errno(nl.IPSET_ERR_BUSY))
			switch {
			case err == nil:
				destroyed++
			case errors.Is(err, syscall.ENOENT):
			case !retry:
				errs = append(errs, fmt.Errorf("destroy IP set %s: %w", name, setError(err)))
			default:
				select {
				case <-ctx.Done():
					kept, retry = append(kept, "IP set "+name), false
				case <-ticker.C:
				}
			}
		}
	}
	return destroyed, kept, errors.Join(errs...)
}

// setError explains the error numbers of IP sets.
func setError(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) && errno >= nl.IPSET_ERR_PRIVATE {
		return nl.IPSetError(errno)
	}
	return err
}
