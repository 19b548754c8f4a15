// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package modest makes a process cheap that programs a node: little is to do at a time, and
// what a process costs that is woken for it is most of it. It knows the Go runtime, and
// nothing of Services.
package modest

import (
	"context"
	"os"
	"path/filepath"
	"runtime"

	"sigs.k8s.io/kpng/localsink"
)

// A Sink leaves the node's processors to others once the first state is in place, which
// may take all of them. Operators decide otherwise by GOMAXPROCS.
type Sink struct{ quiet *bool }

// NewSink returns a Sink.
func NewSink() Sink { return Sink{new(bool)} }

// Sync implements localsink.Sink.
func (s Sink) Sync(context.Context, *localsink.Update) error {
	if *s.quiet {
		return nil
	}
	*s.quiet = true
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) > 1 {
		// Handing little work from one processor to another costs more than it saves.
		runtime.GOMAXPROCS(1)
	}
	relaxTimers("/proc")
	return nil
}

// slack is how much later than asked for the kernel may wake a thread, in nanoseconds.
const slack = "1000000"

// relaxTimers lets the kernel wake the process's threads, and those that they begin, a
// little late. The runtime's own monitor sleeps for 20 µs at a time while there is work,
// and its waking is a fifth of the samples of a profile of changes; that late it is woken
// once, which saves two of the six context switches of a change (docs/performance.md).
// Timers of the program are late by as much, which nobody notices here. It takes
// CAP_SYS_NICE, which the privileged have; without it, or elsewhere than on Linux, all
// stays as it is.
func relaxTimers(proc string) {
	threads, _ := filepath.Glob(filepath.Join(proc, "self/task/*"))
	for _, t := range threads {
		f, err := os.OpenFile(filepath.Join(proc, filepath.Base(t), "timerslack_ns"), os.O_WRONLY, 0)
		if err != nil {
			return
		}
		_, err = f.WriteString(slack)
		if f.Close() != nil || err != nil {
			return
		}
	}
}
