// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// A versionValue is the value of --version: "true", "raw", or a version that the program
// then reports.
type versionValue string

// Values of --version that print the version.
const (
	versionShort versionValue = "true"
	versionRaw   versionValue = "raw"
)

func (v *versionValue) String() string { return string(*v) }
func (*versionValue) Type() string     { return "version" }

func (v *versionValue) Set(s string) error {
	if s != string(versionRaw) && !strings.HasPrefix(s, "v") {
		yes, err := strconv.ParseBool(s)
		if err != nil {
			return err
		}
		s = strconv.FormatBool(yes)
	}
	*v = versionValue(s)
	return nil
}

// PrintVersion prints the version of the program to w if --version asks for it, and
// reports whether it did.
func (o *Options) PrintVersion(w io.Writer, version string) (printed bool, err error) {
	switch o.version {
	case versionShort:
		_, err = fmt.Fprintln(w, version)
	case versionRaw:
		commit, date := "unknown", "unknown"
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, setting := range info.Settings {
				switch setting.Key {
				case "vcs.revision":
					commit = setting.Value
				case "vcs.time":
					date = setting.Value
				}
			}
		}
		_, err = fmt.Fprintf(w, "version=%q commit=%q commitDate=%q goVersion=%q platform=%q\n",
			version, commit, date, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
	default:
		return false, nil
	}
	return true, err
}

// ReportedVersion returns the version in --version=vX.Y.Z, or else version.
func (o *Options) ReportedVersion(version string) string {
	if strings.HasPrefix(string(o.version), "v") {
		return string(o.version)
	}
	return version
}
