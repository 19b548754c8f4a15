// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"strings"

	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// Values of logging.format.
const (
	formatText = "text"
	formatJSON = "json"
)

// defineLogging defines the flags for c, which have an effect beside a configuration file too.
func defineLogging(fs *pflag.FlagSet, c *logsapi.LoggingConfiguration) {
	const alpha = ", requires the feature gate " + gateLoggingAlpha
	fs.VarP(logsapi.VerbosityLevelPflag(&c.Verbosity), "v", "v", "log level; 4 and more logs debug messages")
	fs.Var(logsapi.VModuleConfigurationPflag(&c.VModule), "vmodule", "log levels of files, PATTERN=N (comma-separated)")
	fs.StringVar(&c.Format, "logging-format", c.Format, "log format: "+formatText+" or "+formatJSON)
	fs.DurationVar(&c.FlushFrequency.Duration.Duration, "log-flush-frequency", c.FlushFrequency.Duration.Duration,
		"maximum time for which log messages are buffered")
	fs.BoolVar(&c.Options.Text.SplitStream, "log-text-split-stream", false, "write errors to stderr and other messages to stdout"+alpha)
	fs.Var(&c.Options.Text.InfoBufferSize, "log-text-info-buffer-size", "size of the buffer of messages that are no errors, in bytes"+alpha)
	fs.BoolVar(&c.Options.JSON.SplitStream, "log-json-split-stream", false, "write errors to stderr and other messages to stdout"+alpha)
	fs.Var(&c.Options.JSON.InfoBufferSize, "log-json-info-buffer-size", "size of the buffer of messages that are no errors, in bytes"+alpha)
}

// isLogFlag reports whether a flag is one of [defineLogging].
func isLogFlag(name string) bool {
	return name == "v" || name == "vmodule" || name == "logging-format" || strings.HasPrefix(name, "log-")
}

// mergeLogging overrides the fields of c whose flags are set. Of log levels of files,
// those of the flags come first.
func (o *Options) mergeLogging(c *logsapi.LoggingConfiguration) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	ofFile := c.VModule
	c.VModule = nil
	merged := *c
	defineLogging(fs, &merged)
	// Defining a boolean flag resets its variable.
	merged.Options.Text.SplitStream, merged.Options.JSON.SplitStream = c.Options.Text.SplitStream, c.Options.JSON.SplitStream
	o.set.Visit(func(f *pflag.Flag) {
		if isLogFlag(f.Name) {
			_ = fs.Set(f.Name, f.Value.String()) // the value was parsed before
		}
	})
	merged.VModule = append(merged.VModule, ofFile...)
	*c = merged
}
