// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	progressDelay    = time.Second            // before the first line, so that short syncs show none
	progressInterval = 200 * time.Millisecond // between two lines
	progressWidth    = 20                     // of the bar, in characters
)

// A progress shows on a terminal what the first sync waits for: the source, and then each sink. It
// is one line, which is drawn again and again, and erased before other output and at the end.
type progress struct {
	terminal io.Writer
	start    time.Time
	objects  func() (count int, synced bool) // of the source; nil for a source of one node

	mu       sync.Mutex
	sinks    []string // names, in the order of the command line
	current  string   // the sink that works, "" while the source does
	done     int      // sinks that have returned from their first Sync
	services int      // of the first update
	drawn    bool     // the line is on the terminal
	shown    bool     // the line has been on the terminal
}

// show returns sink, and around it what shows its first Sync. A nil p shows nothing.
func (p *progress) show(name string, sink localsink.Sink) []localsink.Sink {
	if p == nil {
		return []localsink.Sink{sink}
	}
	p.sinks = append(p.sinks, name)
	var begin, end sync.Once
	return []localsink.Sink{
		localsink.Func(func(_ context.Context, u *localsink.Update) error {
			begin.Do(func() { p.begin(name, u.All.Len()) })
			return nil
		}),
		sink,
		localsink.Func(func(context.Context, *localsink.Update) error {
			end.Do(p.end)
			return nil
		}),
	}
}

func (p *progress) begin(sink string, services int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current, p.services = sink, services
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
}

// run draws the line until the first sync is complete or ctx is done.
func (p *progress) run(ctx context.Context) error {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	defer p.finish()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if p.draw() {
				<-ctx.Done() // the end of this part would end the others
				return nil
			}
		}
	}
}

// draw draws the line, and reports whether the first sync is complete.
func (p *progress) draw() (complete bool) {
	count, synced := 0, false
	if p.objects != nil {
		count, synced = p.objects()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	started := synced || p.current != ""
	if elapsed := time.Since(p.start); elapsed >= progressDelay {
		p.erase()
		fmt.Fprint(p.terminal, p.line(count, started, elapsed))
		p.drawn, p.shown = true, true
	}
	if complete = started && p.done == len(p.sinks); complete {
		p.summarize()
	}
	return complete
}

// line returns the text of the line. The bar has a part for the source, and one for each sink.
func (p *progress) line(count int, received bool, elapsed time.Duration) string {
	done, what := 0, fmt.Sprintf("receiving, %d objects", count)
	if p.objects == nil {
		what = "waiting for the server"
	}
	if received {
		done, what = 1+p.done, fmt.Sprintf("%s, %d Services", p.current, p.services)
		if p.current == "" {
			what = fmt.Sprintf("resolving, %d objects", count)
		}
	}
	filled := progressWidth * done / (1 + len(p.sinks))
	return fmt.Sprintf("[%s%s] %s (%.1f s)", strings.Repeat("=", filled), strings.Repeat(" ", progressWidth-filled), what, elapsed.Seconds())
}

// summarize replaces the line by its result. The caller holds the mutex.
func (p *progress) summarize() {
	p.erase()
	if p.shown && len(p.sinks) > 0 {
		fmt.Fprintf(p.terminal, "First sync: %d Services in %.1f s\n", p.services, time.Since(p.start).Seconds())
	}
}

func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

// erase removes the line from the terminal. The caller holds the mutex.
func (p *progress) erase() {
	if p.drawn {
		fmt.Fprint(p.terminal, "\r\x1b[K") // to the first column, and erase to the end of the line
		p.drawn = false
	}
}

// beside returns a writer to the same terminal that erases the line before it writes.
func (p *progress) beside(w io.Writer) io.Writer { return besideProgress{p, w} }

type besideProgress struct {
	progress *progress
	out      io.Writer
}

func (w besideProgress) Write(b []byte) (int, error) {
	w.progress.mu.Lock()
	defer w.progress.mu.Unlock()
	w.progress.erase()
	return w.out.Write(b)
}
