package session

import (
	"context"
	"sync"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// Acks hand acknowledgements to whoever sends them, the newest only.
type Acks struct {
	mu  sync.Mutex
	ack *kpng.Ack // waits to be sent
	has chan struct{}
}

// NewAcks returns Acks without any.
func NewAcks() *Acks { return &Acks{has: make(chan struct{}, 1)} }

// Put hands over an acknowledgement, nil for none, in place of one that waits.
func (a *Acks) Put(ack *kpng.Ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ack = ack
	select {
	case a.has <- struct{}{}:
	default:
	}
}

// Next waits for an acknowledgement, and returns false when ctx is done.
func (a *Acks) Next(ctx context.Context) (*kpng.Ack, bool) {
	for {
		a.mu.Lock()
		ack := a.ack
		a.ack = nil
		a.mu.Unlock()
		if ack != nil {
			return ack, true
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-a.has:
		}
	}
}
