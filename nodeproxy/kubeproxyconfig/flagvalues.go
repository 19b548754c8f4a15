// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"net"

	netutils "k8s.io/utils/net"
)

// A stringValue is a flag of kube-proxy that checks its value. An empty value keeps the
// previous one if keepIfEmpty is set, as in kube-proxy.
type stringValue struct {
	to          *string
	typ         string
	check       func(string) error
	keepIfEmpty bool
}

func (v *stringValue) String() string {
	if v.to == nil {
		return ""
	}
	return *v.to
}

func (v *stringValue) Type() string { return v.typ }

func (v *stringValue) Set(s string) error {
	if s == "" && v.keepIfEmpty {
		return nil
	}
	if v.check != nil {
		if err := v.check(s); err != nil {
			return err
		}
	}
	*v.to = s
	return nil
}

func checkIP(s string) error {
	if netutils.ParseIPSloppy(s) == nil {
		return fmt.Errorf("%q is not an IP address", s)
	}
	return nil
}

// checkIPPort checks an IP address with or without a port; 0 is a port here.
func checkIPPort(s string) error {
	if checkIP(s) == nil {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is neither an IP address nor IP:port", s)
	}
	if err := checkIP(host); err != nil {
		return err
	}
	if _, err := netutils.ParsePort(port, true); err != nil {
		return fmt.Errorf("%q is not a port", port)
	}
	return nil
}
