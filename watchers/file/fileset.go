// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
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
	seed    maphash.Seed
	files   map[string]*fileState // by name
	err     *Error                // the path cannot be read; nil otherwise
}

// A fileState holds the last valid objects of one file. It is immutable once it is in a
// fileSet; a change of the file gives a new one.
type fileState struct {
	info    fs.FileInfo               // nil before the file has been read
	sum     uint64                    // hash of the content that was read last
	objects map[objectID]validVersion // includes last valid versions of objects that are invalid now
	invalid map[string]bool           // names of objects of which the content has no valid version
	errs    []*Error                  // about documents
	readErr *Error                    // the file cannot be read; nil otherwise
}

// A validVersion is the last valid version of an object.
type validVersion struct {
	object watchers.Object // nil if the filter excludes it
	line   int
}

// scan reads the files that have changed and reports whether the set has changed. Without
// force, a file with unchanged metadata is not read. The error is that the path cannot be
// read; the set keeps its objects then.
func (s *fileSet) scan(force bool) (changed bool, err error) {
	found := map[string]*fileState{}
	names, err := s.names()
	for _, name := range names {
		old := s.files[name]
		if old == nil {
			old = &fileState{}
		}
		if f := s.read(name, old, force); f != nil {
			found[name] = f
		} else if name == s.path {
			err = fs.ErrNotExist // the file was deleted after names listed it
		}
	}
	if err != nil {
		changed = s.err == nil
		s.err = &Error{File: s.path, Err: fmt.Errorf("cannot read path, keeping the last known objects: %w", err)}
		return changed, err
	}
	keepMovedObjects(s.files, found)
	changed = s.err != nil
	if !maps.Equal(s.files, found) {
		changed = true
	}
	s.err, s.files = nil, found
	return changed, nil
}

// keepMovedObjects adds to found the last valid version of each object that no file has
// any more, except a file with an invalid version: the object has moved and became
// invalid at once.
func keepMovedObjects(before, found map[string]*fileState) {
	valid := map[objectID]bool{}
	for _, f := range found {
		for id := range f.objects {
			valid[id] = true
		}
	}
	names := slices.Sorted(maps.Keys(found))
	for _, old := range slices.Sorted(maps.Keys(before)) {
		for id, version := range before[old].objects {
			i := slices.IndexFunc(names, func(name string) bool { return found[name].invalid[id.String()] })
			if valid[id] || i < 0 {
				continue
			}
			f := *found[names[i]] // a copy, because before may hold the same fileState
			f.objects = maps.Clone(f.objects)
			f.objects[id] = version
			found[names[i]], valid[id] = &f, true
		}
	}
}

// names lists the files of the set. A file may be deleted before it is read.
func (s *fileSet) names() ([]string, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{s.path}, nil
	}
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case ".yaml", ".yml", ".json":
			if !strings.HasPrefix(e.Name(), ".") {
				out = append(out, filepath.Join(s.path, e.Name()))
			}
		}
	}
	return out, nil
}

// read returns the new state of a file, or nil if there is no such file. If the file
// cannot be read, its objects are those of old.
func (s *fileSet) read(name string, old *fileState, force bool) *fileState {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	if err == nil && !force && old.info != nil && old.readErr == nil && sameMetadata(old.info, info) {
		return old
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f := *old
	f.readErr = nil
	if err != nil {
		f.readErr = &Error{File: name, Err: fmt.Errorf("cannot read file, keeping its last known objects: %w", err)}
		return &f
	}
	sum := maphash.Bytes(s.seed, data)
	if old.info == nil || old.sum != sum {
		f = newFileState(name, s.decoder.decode(name, data), old.objects)
	}
	f.info, f.sum = info, sum
	return &f
}

func sameMetadata(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// newFileState returns the state of a file with the given contents. An invalid object
// keeps its last valid version. While the file has documents with an unknown object, so
// does every object that is missing, because it may be in one of these documents.
func newFileState(name string, c contents, last map[objectID]validVersion) fileState {
	f := fileState{
		objects: map[objectID]validVersion{},
		invalid: map[string]bool{},
		errs:    slices.Concat(c.fieldErrors, c.documentErrors),
	}
	for _, e := range c.documentErrors {
		f.invalid[e.Object] = true
	}
	seen := map[objectID]bool{}
	for _, o := range c.objects {
		switch {
		case seen[o.id]:
			f.errs = append(f.errs, &Error{File: name, Line: o.line, Object: o.id.String(),
				Err: errors.New("already defined in this file; ignored")})
		case o.err != nil:
			f.errs = append(f.errs, o.err)
			f.invalid[o.id.String()] = true
			if version, ok := last[o.id]; ok {
				f.objects[o.id] = version
			}
		default:
			f.objects[o.id] = validVersion{o.object, o.line}
		}
		seen[o.id] = true
	}
	if len(c.documentErrors) > 0 {
		for id, version := range last {
			if !seen[id] {
				f.objects[id] = version
			}
		}
	}
	return f
}

// merge returns the objects of all files and all errors, the errors in the order of
// files and lines. Of an object in several files, the first file in name order is used.
func (s *fileSet) merge() ([]watchers.Object, []*Error) {
	var out []watchers.Object
	var errs []*Error
	if s.err != nil {
		errs = append(errs, s.err)
	}
	fileOf := map[objectID]string{}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		f := s.files[name]
		errs = append(errs, f.errs...)
		if f.readErr != nil {
			errs = append(errs, f.readErr)
		}
		for id, version := range f.objects {
			if first, ok := fileOf[id]; ok {
				errs = append(errs, &Error{File: name, Line: version.line, Object: id.String(),
					Err: fmt.Errorf("already defined in %s; ignored", first)})
				continue
			}
			fileOf[id] = name
			if version.object != nil {
				out = append(out, version.object)
			}
		}
	}
	slices.SortStableFunc(errs, compareErrors)
	return out, errs
}
