// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// An iptables runs the commands of one variant of iptables.
type iptables struct{ variant string } // "", "-legacy" or "-nft"

const (
	// iptablesTimeout limits one command. It includes waiting for the lock of other programs.
	iptablesTimeout = 40 * time.Second
	lockWait        = "30" // seconds
)

// run runs a command of the variant, such as "save", with text as its input.
func (t iptables) run(ctx context.Context, isIPv6 bool, command, text string, args ...string) (string, error) {
	name := "iptables"
	if isIPv6 {
		name = "ip6tables"
	}
	name += t.variant + "-" + command
	ctx, cancel := context.WithTimeout(ctx, iptablesTimeout)
	defer cancel()
	var output, problems strings.Builder
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // one of a few names, constant arguments
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &output, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ipvs: %s: %w: %s", name, err, strings.TrimSpace(problems.String()))
	}
	return output.String(), nil
}

func (t iptables) restore(ctx context.Context, isIPv6 bool, text string, args ...string) error {
	if text == "" {
		return nil
	}
	_, err := t.run(ctx, isIPv6, "restore", text, append(args, "--noflush", "--wait", lockWait)...)
	return err
}

// ReplaceRules replaces the chains, in one transaction for each table and family.
func (k *linuxKernel) ReplaceRules(ctx context.Context, node *localsink.Node) error {
	for _, isIPv6 := range k.families {
		saved, err := k.iptables.run(ctx, isIPv6, "save", "")
		if err != nil {
			return err
		}
		if err := k.iptables.restore(ctx, isIPv6, restoreText(ruleWriter{k.cfg, node, isIPv6}.tables(), saved)); err != nil {
			return err
		}
	}
	return nil
}

// chooseIPTables selects the commands of the configured variant that accept the rules. The sets
// must exist.
func (k *linuxKernel) chooseIPTables() error {
	variants := []string{"", "-legacy"}
	if k.cfg.IPTables != "" {
		variants = []string{"-" + k.cfg.IPTables}
	}
	var first error
	for _, variant := range variants {
		k.iptables = iptables{variant}
		err := k.testRules()
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("%w; needed are the commands of the package iptables and the kernel modules "+
		"xt_set, xt_ipvs, xt_bpf, xt_mark, xt_addrtype, xt_conntrack, xt_MASQUERADE and ipt_REJECT", first)
}

// testRules returns an error if iptables does not accept the rules of IPv4. Those of IPv6 need the
// same.
func (k *linuxKernel) testRules() error {
	node := &localsink.Node{LocalPods: localsink.PodSources{Interface: "x", InterfacePrefix: "y"}}
	return k.iptables.restore(context.Background(), false, restoreText(ruleWriter{k.cfg, node, false}.tables(), ""), "--test")
}

// removeRules removes the rules and chains.
func (k *linuxKernel) removeRules() error {
	for _, isIPv6 := range k.families {
		saved, err := k.iptables.run(context.Background(), isIPv6, "save", "")
		if err != nil {
			return err
		}
		if err := k.iptables.restore(context.Background(), isIPv6, removeText(ruleWriter{k.cfg, &localsink.Node{}, isIPv6}.tables(), saved)); err != nil {
			return err
		}
	}
	return nil
}
