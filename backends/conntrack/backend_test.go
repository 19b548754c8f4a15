package conntrack

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A fake is a kernel with a table of flows.
type fake struct {
	flows       []flow
	local       []netip.Addr
	interrupted int // how many dumps are
	removeErr   error
	addressErr  error
	dumps       []bool // of IPv4 or not
	closed      bool
}

func (k *fake) remove(v4 bool, wrong func(flow) bool) (n uint, err error) {
	k.dumps = append(k.dumps, v4)
	if k.removeErr != nil {
		return 0, k.removeErr
	}
	k.flows = slices.DeleteFunc(k.flows, func(f flow) bool {
		if f.dialled.Addr().Is4() != v4 || !wrong(f) {
			return false
		}
		n++
		return true
	})
	if k.interrupted > 0 {
		k.interrupted--
		return n, errInterrupted
	}
	return n, nil
}

func (k *fake) addresses(v4 bool) (all []netip.Addr, err error) {
	for _, a := range k.local {
		if a.Is4() == v4 {
			all = append(all, a)
		}
	}
	return all, k.addressErr
}

func (k *fake) close() { k.closed = true }

func faked(k *fake, log *strings.Builder) *Backend {
	return &Backend{log: slog.New(slog.NewTextHandler(log, nil)), kernel: k, ledger: ledger{}}
}

// TestSyncReadsWhatItMust: a family is read once, only when something in it is
// suspicious, and only flows at the node's own permitted addresses are node port flows.
func TestSyncReadsWhatItMust(t *testing.T) {
	const six, sixth = "[fd00:96::1]:53", "[fd00::1]:5353"
	var log strings.Builder
	k := &fake{
		local: []netip.Addr{addr(onNode).Addr(), netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")},
		flows: []flow{
			{addr(vip), addr(one)}, {addr(vip), addr(two)},
			{addr(onNode), addr(two)}, {addr(elsewhere), addr(two)}, {addr("203.0.113.1:30053"), addr(two)},
			{addr(six), addr(sixth)},
		},
	}
	b := faked(k, &log)
	node := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	d := sinktest.Driver{Sink: b, Node: node}
	fronts := []string{vip, nodePort}

	require.NoError(t, d.Sync(t.Context(), sinktest.State(udp("dns", fronts, []string{one, two}))))
	require.Equal(t, []bool{true}, k.dumps, "nothing is of IPv6")
	require.Len(t, k.flows, 6)
	require.Equal(t, Stats{Dumps: 1}, b.Stats())
	require.Empty(t, log.String())

	require.NoError(t, d.Sync(t.Context(), sinktest.State(udp("dns", fronts, []string{one, two, old}))))
	require.Len(t, k.dumps, 1, "one more endpoint is harmless")

	require.NoError(t, d.Sync(t.Context(), sinktest.State(udp("dns", fronts, []string{one, old}), udp("six", []string{six}, []string{sixth}))))
	require.Equal(t, []bool{true, true, false}, k.dumps)
	require.Equal(t, []flow{
		{addr(vip), addr(one)}, {addr(elsewhere), addr(two)}, {addr("203.0.113.1:30053"), addr(two)}, {addr(six), addr(sixth)},
	}, k.flows)
	require.Equal(t, Stats{Dumps: 3, Removed: 2}, b.Stats())
	require.Contains(t, log.String(), "flows=2")

	require.NoError(t, d.Sync(t.Context(), sinktest.State(udp("dns", fronts, []string{one, old}))))
	require.Equal(t, []bool{true, true, false, false}, k.dumps)
	require.Len(t, k.flows, 3)
	b.Close()
	require.True(t, k.closed)
}

// TestInterrupted: a table that changes too fast is read again, but not for ever.
func TestInterrupted(t *testing.T) {
	for interrupted, dumps := range map[int]int{0: 1, 1: 2, attempts - 1: attempts, attempts: attempts, attempts + 3: attempts} {
		var log strings.Builder
		k := &fake{interrupted: interrupted}
		b := faked(k, &log)
		require.NoError(t, b.Sync(t.Context(), sinktest.Update(&localsink.Node{}, nil, sinktest.State(udp("dns", []string{vip}, []string{one})))))
		require.Len(t, k.dumps, dumps)
		require.EqualValues(t, dumps, b.Stats().Dumps)
		require.Equal(t, interrupted >= attempts, strings.Contains(log.String(), "may be left"), log.String())
		require.Len(t, b.ledger, 1, "it is accepted")
	}
}

// TestErrorsAcceptNothing: what was suspicious is so again after an error.
func TestErrorsAcceptNothing(t *testing.T) {
	var log strings.Builder
	injected := errors.New("injected")
	k := &fake{flows: []flow{{addr(vip), addr(old)}}}
	b := faked(k, &log)
	d := sinktest.Driver{Sink: b, Node: &localsink.Node{}}
	state := sinktest.State(udp("dns", []string{vip}, []string{one}))

	k.removeErr = injected
	require.ErrorIs(t, d.Sync(t.Context(), state), injected)
	require.Len(t, k.dumps, 1, "no second attempt at once")
	k.removeErr, k.addressErr = nil, injected
	err := d.Sync(t.Context(), state)
	require.ErrorIs(t, err, injected)
	require.ErrorContains(t, err, "conntrack: addresses of the node: ")
	k.addressErr = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.Sync(ctx, state), context.Canceled)
	require.Len(t, k.dumps, 1)
	require.Empty(t, b.ledger)
	require.NoError(t, d.Sync(t.Context(), state))
	require.Empty(t, k.flows)
	require.Len(t, b.ledger, 1)
	require.NoError(t, d.Sync(t.Context(), sinktest.State()))
	require.Empty(t, b.ledger)
	tcp := udp("web", []string{vip}, []string{one})
	tcp.Ports = tcp.Ports[1:]
	require.NoError(t, d.Sync(t.Context(), sinktest.State(tcp)))
	require.Empty(t, b.ledger, "Services without UDP take no place")
}
