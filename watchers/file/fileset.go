// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/watchers"
)

// A fileSet holds the last valid objects of the files at a path.
type fileSet struct {
	path    string
	decoder *decoder
	files   map[string]*fileState // by name
	dir     fs.FileInfo           // the directory that files were read from; nil without one
	err     *Error                // the path cannot be read; nil otherwise
}

// errDirectoryEmpty is the error of a directory that has lost all its files.
var errDirectoryEmpty = errors.New("the directory has no manifests any more; an empty manifest file in it deletes the objects")

// scan reads the files that have changed and reports whether the set has changed. Without
// force, a file with unchanged metadata is not read, and nothing is computed per object.
// The error is that the path cannot be read, or that ctx is done; the set keeps its
// objects then.
func (s *fileSet) scan(ctx context.Context, force bool) (changed bool, err error) {
	names, dir, err := s.names()
	found := make(map[string]*fileState, len(names))
	same := len(names) == len(s.files)
	for _, name := range names {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		old, known := s.files[name]
		if !known {
			old = &fileState{}
		}
		if f := s.read(name, old, force); f != nil {
			found[name] = f
			same = same && known && f == old
		} else if name == s.path {
			err = fs.ErrNotExist // the file was deleted after names listed it
		} else {
			same = false
		}
	}
	if err == nil && s.lost(found, dir) {
		err = errDirectoryEmpty
	}
	if err != nil {
		before := s.err
		s.err = &Error{File: s.path, Err: fmt.Errorf("cannot read path, keeping the last known objects: %w", err)}
		return before == nil || before.Error() != s.err.Error(), err
	}
	changed = s.err != nil || !same
	s.err = nil
	if len(found) > 0 || s.dir == nil {
		s.dir = dir
	}
	if same {
		return changed, nil
	}
	keepMovedObjects(s.files, found)
	s.files = found
	return changed, nil
}

// lost reports whether the directory has lost all its files at once, or is another
// directory without files. This is what a file system that was unmounted looks like. The
// deletion of the last file alone deletes its objects.
func (s *fileSet) lost(found map[string]*fileState, dir fs.FileInfo) bool {
	if len(found) > 0 || len(s.files) == 0 || dir == nil {
		return false
	}
	return len(s.files) > 1 || s.err != nil || s.dir == nil || !os.SameFile(s.dir, dir)
}

// names lists the files of the set, and returns the directory if the path is one. A file
// may be deleted before it is read.
func (s *fileSet) names() ([]string, fs.FileInfo, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		return []string{s.path}, nil, nil
	}
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return nil, nil, err
	}
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		if isManifest(e.Name()) {
			out = append(out, filepath.Join(s.path, e.Name()))
		}
	}
	return out, info, nil
}

// isManifest reports whether a file in a directory is read. Hidden files are temporary
// files of editors and of ConfigMap volumes. The other names belong to Helm and Kustomize:
// those files have no objects.
func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
	default:
		return false
	}
	switch name {
	case "Chart.yaml", "values.yaml", "values.yml", "values.schema.json", "kustomization.yaml", "kustomization.yml":
		return false
	}
	return !strings.HasPrefix(name, ".")
}

// read returns the new state of a file, old if it has not changed, or nil if there is no
// such file. If the file cannot be read, its objects are those of old.
func (s *fileSet) read(name string, old *fileState, force bool) *fileState {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, linkErr := os.Lstat(name); linkErr != nil {
			return nil
		}
		// Its file system may have been unmounted.
		err = errors.New("a link to a file that does not exist")
	case err == nil && info.IsDir():
		return nil
	case err == nil && !info.Mode().IsRegular():
		err = errNotRegular(info) // opening it could have effects
	case err == nil && !force && old.info != nil && old.readErr == nil && sameMetadata(old.info, info):
		return old
	}
	var data []byte
	if err == nil {
		info, data, err = readRegular(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		failure := &Error{File: name, Err: fmt.Errorf("cannot read file, keeping its last known objects: %w", err)}
		if old.readErr != nil && old.readErr.Error() == failure.Error() {
			return old
		}
		f := *old
		f.readErr = failure
		return &f
	}
	sum := maphash.Bytes(s.decoder.seed, data)
	if old.info != nil && old.readErr == nil && old.sum == sum && sameMetadata(old.info, info) {
		return old
	}
	f := *old
	if old.info == nil || old.sum != sum {
		f = newFileState(s.decoder.decode(name, data), old)
	}
	f.info, f.sum, f.readErr = info, sum, nil
	return &f
}

func sameMetadata(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// merge returns the objects of all files and all errors, the errors in the order of
// files and lines. Of an object in several files, the first file in name order is used,
// but a version that is only kept for an unusable document is used last.
func (s *fileSet) merge() ([]watchers.Object, []*Error) {
	var out []watchers.Object
	var errs []*Error
	if s.err != nil {
		errs = append(errs, s.err)
	}
	names := slices.Sorted(maps.Keys(s.files))
	fileOf := map[objectID]string{}
	for _, guessed := range []bool{false, true} {
		for _, name := range names {
			for id, version := range s.files[name].objects {
				if version.guessed != guessed {
					continue
				}
				if first, ok := fileOf[id]; ok {
					if !guessed {
						duplicate := version.position
						duplicate.Err = fmt.Errorf("already defined in %s; ignored", first)
						errs = append(errs, &duplicate)
					}
					continue
				}
				fileOf[id] = name
				if version.object != nil {
					out = append(out, version.object)
				}
			}
		}
	}
	for _, name := range names {
		f := s.files[name]
		errs = append(errs, f.errs...)
		if f.readErr != nil {
			errs = append(errs, f.readErr)
		}
	}
	slices.SortStableFunc(errs, compareErrors)
	return out, errs
}
