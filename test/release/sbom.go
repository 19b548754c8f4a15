// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"runtime/debug"
	"strings"
)

// writeSBOM describes the program in file with cyclonedx-gomod, which reads the modules that the program
// itself records, and adds the licences that were checked. Without a serial number and a time, equal
// programs have equal descriptions.
func writeSBOM(ctx context.Context, tool, file, version, name string, all []licensed) error {
	args := []string{tool, "bin", "-json", "-noserial", "-notimestamp"}
	if version != "" {
		args = append(args, "-version", version)
	}
	out, err := output(ctx, ".", nil, append(args, file)...)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	described, err := addLicenses(nameOwnModules(out, info.Deps), all)
	if err != nil {
		return fmt.Errorf("SBOM of %s: %w", file, err)
	}
	return os.WriteFile(name, described, 0o644)
}

// nameOwnModules replaces the directories of modules of this repository, with which a nested module
// replaces them, by their paths and the versions that it requires.
func nameOwnModules(sbom []byte, dependencies []*debug.Module) []byte {
	text := string(sbom)
	for _, d := range dependencies {
		if d.Replace == nil || !strings.HasPrefix(d.Replace.Path, ".") {
			continue
		}
		dir, version := path.Clean(d.Replace.Path), d.Replace.Version
		text = strings.NewReplacer(
			`pkg:golang/`+dir+`@`+version, `pkg:golang/`+d.Path+`@`+d.Version,
			`"name": "`+dir+`",`, `"name": "`+d.Path+`",`,
			`"version": "`+version+`",`, `"version": "`+d.Version+`",`,
		).Replace(text)
	}
	return []byte(text)
}

// addLicenses adds the licences of modules to the components of an SBOM in JSON. It returns an error
// for a component of another module, whose licence was not checked then.
func addLicenses(sbom []byte, all []licensed) ([]byte, error) {
	byModule := map[string][]string{}
	for _, l := range all {
		byModule[l.path+"@"+l.version] = l.licenses
	}
	var document map[string]any
	if err := json.Unmarshal(sbom, &document); err != nil {
		return nil, err
	}
	components, ok := document["components"].([]any)
	if !ok {
		return nil, fmt.Errorf("components: got %T, want an array", document["components"])
	}
	for _, c := range components {
		component, ok := c.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("components: got %T, want objects", c)
		}
		name, version := fmt.Sprint(component["name"]), fmt.Sprint(component["version"])
		ids := byModule[name+"@"+version]
		if isOwn(name) {
			ids = []string{"Apache-2.0"}
		}
		if name == "std" {
			ids = []string{"BSD-3-Clause"}
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("component %s %s: its licence was not checked", name, version)
		}
		var licenses []any
		for _, id := range ids {
			licenses = append(licenses, map[string]any{"license": map[string]any{"id": id}})
		}
		component["licenses"] = licenses
	}
	return json.MarshalIndent(document, "", "  ")
}
