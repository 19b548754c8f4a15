// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"flag"
	"strconv"

	"k8s.io/klog/v2"
)

// RedirectKlog makes klog, through which client-go logs what it logs without a context,
// use l, and returns a function that changes the verbosity of l and of klog to the number
// in text. klog has one logger for the whole process, so only a main function may call it,
// before other goroutines log.
func (l *Log) RedirectKlog() (setVerbosity func(text string) error, err error) {
	klog.SetSlogLogger(l.logger)
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags) // the variables of klog change only when a flag is set
	setVerbosity = func(text string) error {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return err
		}
		if err := l.SetVerbosity(int(n)); err != nil {
			return err
		}
		return flags.Set("v", strconv.FormatUint(n, 10))
	}
	return setVerbosity, setVerbosity(strconv.Itoa(l.Verbosity()))
}
