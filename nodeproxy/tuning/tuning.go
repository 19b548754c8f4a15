// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tuning adjusts the Go runtime and the timers of a process that programs a node:
// each change is small, so that most of its cost is waking the process. It is
// independent of Services.
package tuning

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// heapGrowth is the percentage of the live heap by which it may grow until the next garbage
// collection.
const heapGrowth = 40

// returnDelay is the time after which memory is returned. A sink is called before the state is
// acknowledged, and some of the state is released then.
const returnDelay = 500 * time.Millisecond

// AfterFirstSync reduces what the process costs its node while it waits for changes: it
// limits the Go scheduler to one processor, lets the kernel delay timers by up to 1 ms, and
// returns memory as [ReturnMemory] does. Call it once the first state
// is applied, which may use all processors. An operator that sets GOMAXPROCS or GOGC keeps
// that number of processors or that value.
//
// The settings are those of the whole process.
func AfterFirstSync() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) > 1 {
		// Passing a little work from one processor to another costs more than it saves.
		runtime.GOMAXPROCS(1)
	}
	relaxTimers("/proc")
	ReturnMemory()
}

// ReturnMemory returns the memory that only the first state needed, and limits the growth of the
// heap from then on. It collects garbage once, which takes some 50 ms in a large cluster, after
// half a second: its caller may hold the first state until then. On
// Linux it unmaps the pages of the program's file, then and after each collection: many are used
// by the start alone, and a collection reads tables of all functions that have been called. It is
// for a process that answers requests, so it needs all processors. An operator that sets GOGC
// keeps that value. Call it once: each call adds to the work after a collection.
//
// The setting is that of the whole process.
func ReturnMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
		time.AfterFunc(returnDelay, debug.FreeOSMemory)
	}
	releaseProgram()
	afterEachCollection(func() bool { releaseProgram(); return true })
}

// timerSlack is the maximum delay of a timer beyond its time, in nanoseconds.
const timerSlack = "1000000"

// relaxTimers lets the kernel wake the threads of the process, and those that they start,
// a little late. The monitor thread of the Go runtime sleeps for 20 µs at a time while
// there is work: a fifth of the samples in a profile of changes. With the slack it wakes
// once, which saves two of the six context switches of a change (docs/performance.md).
// Timers of the program are late by as much. It requires CAP_SYS_NICE; without it, or on
// another system than Linux, nothing changes.
func relaxTimers(proc string) {
	threads, _ := filepath.Glob(filepath.Join(proc, "self/task/*"))
	for _, thread := range threads {
		f, err := os.OpenFile(filepath.Join(proc, filepath.Base(thread), "timerslack_ns"), os.O_WRONLY, 0)
		if err != nil {
			return
		}
		_, err = f.WriteString(timerSlack)
		if f.Close() != nil || err != nil {
			return
		}
	}
}

// OOMScore sets the oom_score_adj of the process: the kernel ends processes with a larger one
// first when memory is short. Valid values are -1000 to 1000; a lower one than before
// requires CAP_SYS_RESOURCE.
func OOMScore(adj int) error {
	file, err := os.OpenFile("/proc/self/oom_score_adj", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(strconv.Itoa(adj))
	return errors.Join(err, file.Close())
}

// ServerGarbageCollection makes the garbage collector run a quarter as often: a server
// with thousands of streams spends much of a collection in their stacks. The price is
// memory that is free when many clients connect at once. An operator that sets GOGC keeps
// that value.
//
// The setting is that of the whole process.
func ServerGarbageCollection() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
