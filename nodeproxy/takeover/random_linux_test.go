// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A randomTable writes a table with random chains, of kube-proxy and of other programs.
type randomTable struct {
	*rand.Rand
	builtin []string
	foreign []string // a chain jumps only to later ones, so that there are no loops
	owned   []string
	out     strings.Builder
}

func newRandomTable(r *rand.Rand, builtin ...string) *randomTable {
	t := &randomTable{Rand: r, builtin: builtin}
	for i := range r.IntN(6) {
		t.foreign = append(t.foreign, fmt.Sprintf("F%c", 'a'+r.IntN(26))+fmt.Sprint(i))
	}
	for range r.IntN(8) {
		name := []byte("KUBE-SVC-AAAAAAAAAAAAAAAA")
		for i := len("KUBE-SVC-"); i < len(name); i++ {
			name[i] = 'A' + byte(r.IntN(26))
		}
		t.owned = append(t.owned, string(name))
	}
	return t
}

// rule writes a rule of a chain with a random match, and a random target if targets is empty.
func (t *randomTable) rule(chain string, targets ...string) {
	matches := []string{
		"", "-p tcp", "-p udp -m udp --dport 53", "-s 2001:db8::/32", `-m comment --comment "a KUBE-SERVICES b"`,
		"-m mark --mark 0x1", "-p tcp -m multiport --dports 1,2,3", "-m limit --limit 5/sec",
	}
	target := []string{"", "-j ACCEPT", "-j RETURN", "-j MARK --set-xmark 0x1/0x1"}[t.IntN(4)]
	if len(targets) > 0 {
		target = []string{"-j ", "-g "}[t.IntN(2)] + targets[t.IntN(len(targets))]
	}
	fmt.Fprintf(&t.out, "[%d:%d] -A %s %s %s\n", t.IntN(1000), t.IntN(1000), chain, matches[t.IntN(len(matches))], target)
}

func (t *randomTable) write(name string) {
	fmt.Fprintf(&t.out, "*%s\n", name)
	for _, chain := range append(append([]string{}, t.owned...), t.foreign...) {
		fmt.Fprintf(&t.out, ":%s - [0:0]\n", chain)
	}
	for _, chain := range t.builtin {
		for range t.IntN(5) {
			t.rule(chain, t.some(t.owned, t.foreign)...)
		}
	}
	for i, chain := range t.foreign {
		for range t.IntN(4) {
			t.rule(chain, t.some(t.foreign[i+1:])...)
		}
	}
	for i, chain := range t.owned {
		for range t.IntN(4) {
			t.rule(chain, t.some(t.owned[i+1:], t.foreign)...)
		}
	}
	t.out.WriteString("COMMIT\n")
}

// some returns one of the lists, or nothing.
func (t *randomTable) some(lists ...[]string) []string {
	if n := t.IntN(len(lists) + 1); n < len(lists) {
		return lists[n]
	}
	return nil
}

// withoutKubeProxy removes from rules what a removal must remove.
func withoutKubeProxy(rules string) string {
	var out strings.Builder
	for line := range strings.Lines(rules) {
		words := strings.Fields(line)
		declares := strings.HasPrefix(line, ":KUBE-SVC-")
		of := len(words) > 2 && strings.HasPrefix(words[2], "KUBE-SVC-")
		jumps := len(words) > 2 && strings.HasPrefix(words[len(words)-1], "KUBE-SVC-")
		if !declares && !of && !jumps {
			out.WriteString(line)
		}
	}
	return out.String()
}

// TestRandomRules compares the rules after a removal with the text of the rules before it.
func TestRandomRules(t *testing.T) {
	requireVariants(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 15 {
		nat := newRandomTable(r, "PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
		nat.write("nat")
		filter := newRandomTable(r, "INPUT", "FORWARD", "OUTPUT")
		filter.write("filter")
		mangle := newRandomTable(r, "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
		mangle.write("mangle")
		rules := nat.out.String() + filter.out.String() + mangle.out.String()
		inNamespace(t, func() {
			before := map[string]string{}
			for _, variant := range variants() {
				own := strings.ReplaceAll(rules, "2001:db8::/32", map[bool]string{true: "2001:db8::/32", false: "192.0.2.0/24"}[variant[2] == '6'])
				command(t, own, variant+"-restore", "--noflush", "--counters")
				before[variant] = save(t, variant)
			}
			cleanup(t)
			for _, variant := range variants() {
				require.Equal(t, withoutKubeProxy(before[variant]), save(t, variant), "%s of\n%s", variant, rules)
			}
		})
	}
}
