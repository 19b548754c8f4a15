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

// A tree is what is known of the files at a path.
type tree struct {
	path    string
	decoder *decoder
	seed    maphash.Seed
	files   map[string]*fileState // by name
	err     *Error                // the path is out of reach
}

// A fileState is what is known of one file.
type fileState struct {
	info    fs.FileInfo
	sum     uint64                // of the content that was read last
	objects map[objectID]lastGood // also those that the content has only broken
	broken  map[string]bool       // objects of which the content has only a broken one
	errs    []*Error              // about documents
	err     *Error                // the file cannot be read
}

type lastGood struct {
	fact watchers.Object
	line int
}

// scan brings the tree in line with the disk. Files whose metadata has not changed
// are not read again, unless everything is wanted. It returns an error when there is
// nothing at the path, and then knows what it knew.
func (t *tree) scan(everything bool) error {
	found := map[string]*fileState{}
	names, err := t.names()
	for _, name := range names {
		old := t.files[name]
		if old == nil {
			old = &fileState{}
		}
		if s := t.read(name, old, everything); s != nil {
			found[name] = s
		} else if name == t.path {
			err = fs.ErrNotExist // gone since names
		}
	}
	if err != nil {
		t.err = &Error{File: t.path, Err: fmt.Errorf("out of reach; keeping what is known: %w", err)}
		return err
	}
	t.adopt(found)
	t.err, t.files = nil, found
	return nil
}

// adopt keeps what was last known of an object that has moved to another file and is
// broken there. found is what takes the place of t.files.
func (t *tree) adopt(found map[string]*fileState) {
	known := map[objectID]bool{}
	for _, f := range found {
		for id := range f.objects {
			known[id] = true
		}
	}
	names := slices.Sorted(maps.Keys(found))
	for _, old := range slices.Sorted(maps.Keys(t.files)) {
		for id, good := range t.files[old].objects {
			i := slices.IndexFunc(names, func(name string) bool { return found[name].broken[id.String()] })
			if known[id] || i < 0 {
				continue
			}
			heir := *found[names[i]] // t.files may have the same one
			heir.objects = maps.Clone(heir.objects)
			heir.objects[id] = good
			found[names[i]], known[id] = &heir, true
		}
	}
}

// names lists the files, which need not be there any more when they are read.
func (t *tree) names() ([]string, error) {
	info, err := os.Stat(t.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{t.path}, nil
	}
	entries, err := os.ReadDir(t.path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case ".yaml", ".yml", ".json":
			if !strings.HasPrefix(e.Name(), ".") {
				out = append(out, filepath.Join(t.path, e.Name()))
			}
		}
	}
	return out, nil
}

// read returns the new state of a file, or nil when there is no such file. What it
// was remains when it cannot be read.
func (t *tree) read(name string, old *fileState, everything bool) *fileState {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	if err == nil && !everything && old.info != nil && old.err == nil && unchanged(old.info, info) {
		return old
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	now := *old
	now.err = nil
	if err != nil {
		now.err = &Error{File: name, Err: fmt.Errorf("cannot be read; keeping what is known: %w", err)}
		return &now
	}
	sum := maphash.Bytes(t.seed, data)
	if old.info == nil || old.sum != sum {
		now.take(name, t.decoder.decode(name, data))
	}
	now.info, now.sum = info, sum
	return &now
}

func unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// take makes c the state of the file. A broken object keeps its last good state; and
// as long as there are documents of which nobody can tell what they are, so does
// every object that is missing, for it may be any of these.
func (s *fileState) take(name string, c contents) {
	was := s.objects
	s.objects, s.broken, s.errs = map[objectID]lastGood{}, map[string]bool{}, slices.Concat(c.misfits, c.errs)
	for _, e := range c.errs {
		s.broken[e.Object] = true // if that is what it was to be
	}
	seen := map[objectID]bool{}
	for _, o := range c.objects {
		switch {
		case seen[o.id]:
			s.errs = append(s.errs, &Error{File: name, Line: o.line, Object: o.id.String(),
				Err: errors.New("is in this file already; ignored")})
		case o.err != nil:
			s.errs, s.broken[o.id.String()] = append(s.errs, o.err), true
			if good, ok := was[o.id]; ok {
				s.objects[o.id] = good
			}
		default:
			s.objects[o.id] = lastGood{o.fact, o.line}
		}
		seen[o.id] = true
	}
	if len(c.errs) > 0 {
		for id, good := range was {
			if !seen[id] {
				s.objects[id] = good
			}
		}
	}
}

// wanted returns the facts of all files, and all that is wrong with them, in order.
// Of an object in several files, the first file's is it.
func (t *tree) wanted() ([]watchers.Object, []*Error) {
	var out []watchers.Object
	var errs []*Error
	if t.err != nil {
		errs = append(errs, t.err)
	}
	owner := map[objectID]string{}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		f := t.files[name]
		errs = append(errs, f.errs...)
		if f.err != nil {
			errs = append(errs, f.err)
		}
		for id, good := range f.objects {
			if first, taken := owner[id]; taken {
				errs = append(errs, &Error{File: name, Line: good.line, Object: id.String(),
					Err: fmt.Errorf("is in %s already; ignored", first)})
				continue
			}
			owner[id] = name
			if good.fact != nil {
				out = append(out, good.fact)
			}
		}
	}
	slices.SortStableFunc(errs, compareErrors)
	return out, errs
}
