// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package qemutest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/backends/internal/guest"
)

// ModulesDir is the directory of an Image that has the modules of kernels.
const ModulesDir = "/lib/modules"

// An Image is the content of an initial RAM disk. The zero value is not valid; use NewImage.
type Image struct {
	entries map[string]entry // by path, absolute
}

// An entry is a file, whose data is in a file of the host or in memory, a directory or a symbolic link.
type entry struct {
	mode   fs.FileMode
	source string
	data   []byte
}

// NewImage returns an image whose first process runs the script of a Machine, with the programs of
// the host that this needs.
func NewImage(ctx context.Context) (*Image, error) {
	m := &Image{entries: map[string]entry{}}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/etc"} {
		m.AddData(dir, fs.ModeDir|0o755, nil)
	}
	for _, dir := range mergedDirs() {
		m.AddData("/usr"+dir, fs.ModeDir|0o755, nil)
		m.AddData(dir, fs.ModeSymlink, []byte("usr"+dir))
	}
	m.AddData("/init", 0o755, guest.Init())
	return m, m.AddPrograms(ctx, "bash", "sh", "mount", "mkdir", "ln", "chmod", "cut", "sleep", "uname", "ip", "modprobe")
}

// mergedDirs returns the directories that are symbolic links to those of the same name in /usr, as
// on the host.
func mergedDirs() []string { return []string{"/bin", "/sbin", "/lib", "/lib64"} }

// AddData adds a file, directory or symbolic link.
func (m *Image) AddData(path string, mode fs.FileMode, data []byte) {
	m.add(path, entry{mode: mode, data: data})
}

func (m *Image) add(path string, e entry) {
	path = filepath.Clean(path)
	for _, dir := range mergedDirs() {
		if strings.HasPrefix(path, dir+"/") {
			path = "/usr" + path
		}
	}
	if _, present := m.entries[path]; present {
		return
	}
	m.entries[path] = e
	if dir := filepath.Dir(path); dir != "/" {
		m.add(dir, entry{mode: fs.ModeDir | 0o755})
	}
}

// AddFile adds a file of the host at a path.
func (m *Image) AddFile(path, source string) error {
	info, err := os.Stat(source)
	if err == nil {
		m.add(path, entry{mode: info.Mode().Perm(), source: source})
	}
	return err
}

// AddTree adds all files below a directory of the host at a path.
func (m *Image) AddTree(path, source string) error {
	return filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		return m.AddFile(filepath.Join(path, relative), p)
	})
}

// AddPrograms adds programs of the host with their libraries, where the host has them.
func (m *Image) AddPrograms(ctx context.Context, names ...string) error {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("qemutest: %w", err)
		}
		if err := m.addWithLibraries(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// AddLibraries adds libraries that programs load by themselves, and the libraries of these.
func (m *Image) AddLibraries(ctx context.Context, paths ...string) error {
	for _, path := range paths {
		if err := m.addWithLibraries(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func (m *Image) addWithLibraries(ctx context.Context, path string) error {
	if err := m.addLinked(path); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "ldd", path).CombinedOutput()
	if err != nil {
		return nil //nolint:nilerr // not a dynamic executable
	}
	paths := regexp.MustCompile(`(?m)(?:=> |^\s+)(/\S+)`)
	for _, match := range paths.FindAllStringSubmatch(string(out), -1) {
		if err := m.addLinked(match[1]); err != nil {
			return err
		}
	}
	return nil
}

// addLinked adds a file of the host at its path: what it is, even if it is a symbolic link.
func (m *Image) addLinked(path string) error {
	source, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return m.AddFile(path, source)
}

// AddModules adds the modules that networks need, from a directory with those of one or more
// kernels and what depmod writes.
func (m *Image) AddModules(source string) error {
	releases, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, release := range releases {
		dir := filepath.Join(source, release.Name())
		for _, part := range []string{
			"net", "lib", "crypto", "arch/x86", "drivers/net/veth.ko", "drivers/net/veth.ko.xz", "drivers/net/dummy.ko", "drivers/net/dummy.ko.xz",
		} {
			err := m.AddTree(filepath.Join(ModulesDir, release.Name(), "kernel", part), filepath.Join(dir, "kernel", part))
			if err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		index, err := filepath.Glob(filepath.Join(dir, "modules.*"))
		if err != nil {
			return err
		}
		for _, f := range index {
			if err := m.AddFile(filepath.Join(ModulesDir, release.Name(), filepath.Base(f)), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// Write writes the image as an archive of the format that the kernel reads (cpio, "newc").
func (m *Image) Write(w io.Writer) error {
	for i, path := range slices.Sorted(maps.Keys(m.entries)) {
		e := m.entries[path]
		data := e.data
		if e.source != "" {
			var err error
			if data, err = os.ReadFile(e.source); err != nil {
				return err
			}
		}
		if err := writeRecord(w, i+1, strings.TrimPrefix(path, "/"), kernelMode(e.mode), data); err != nil {
			return err
		}
	}
	return writeRecord(w, 0, "TRAILER!!!", 0, nil)
}

// kernelMode returns the mode as stat(2) has it.
func kernelMode(m fs.FileMode) uint32 {
	switch {
	case m.IsDir():
		return 0o040000 | uint32(m.Perm())
	case m&fs.ModeSymlink != 0:
		return 0o120777
	}
	return 0o100000 | uint32(m.Perm())
}

// writeRecord writes a header, the name and the data, each padded to 4 bytes.
func writeRecord(w io.Writer, inode int, name string, mode uint32, data []byte) error {
	// inode, mode, user, group, links, time, size, devices, length of the name, checksum
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	padding := func(n int) string { return "\x00\x00\x00"[:(4-n%4)%4] }
	for _, part := range []string{header, padding(len(header)), string(data), padding(len(data))} {
		if _, err := io.WriteString(w, part); err != nil {
			return err
		}
	}
	return nil
}
