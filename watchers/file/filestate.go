// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/watchers"
)

// A fileState holds the last valid objects of one file. It is immutable once it is in a
// fileSet; a change of the file gives a new one.
type fileState struct {
	info    fs.FileInfo               // nil before the file has been read
	sum     uint64                    // hash of the content that was read last
	objects map[objectID]validVersion // includes last valid versions of objects that are invalid now
	invalid map[string]bool           // names of objects of which the content has no valid version
	// withheld has the objects that are kept because of an unusable document, by the hash
	// of its text.
	withheld map[uint64][]objectID
	errs     []*Error // about documents
	readErr  *Error   // the file cannot be read; nil otherwise
}

// A validVersion is the last valid version of an object.
type validVersion struct {
	object watchers.Object // nil if the filter excludes it
	// position has the line, document and item of the object.
	position Error
	index    int // of its entry in the file, or of the unusable one that may contain it
	// guessed is true if an unusable document may contain the object.
	guessed bool
}

// newFileState returns the state of a file with the given contents. An invalid object
// keeps its last valid version, and so do the objects that an unusable document may
// contain.
func newFileState(c contents, last *fileState) fileState {
	f := fileState{
		objects: map[objectID]validVersion{},
		invalid: map[string]bool{},
		errs:    c.notes,
	}
	seen := map[objectID]bool{}
	for i, e := range c.entries {
		switch version, known := last.objects[e.id]; {
		case e.id == objectID{}:
			f.invalid[e.err.Object] = true
			continue
		case seen[e.id]:
			duplicate := e.position
			duplicate.Err = errors.New("already defined in this file; ignored")
			f.errs = append(f.errs, &duplicate)
		case e.err != nil:
			f.errs = append(f.errs, e.err)
			f.invalid[e.id.String()] = true
			if known {
				version.index, version.position, version.guessed = i, e.position, false
				f.objects[e.id] = version
			}
		default:
			f.objects[e.id] = validVersion{object: e.object, position: e.position, index: i}
		}
		seen[e.id] = true
	}
	missing := maps.Clone(last.objects)
	maps.DeleteFunc(missing, func(id objectID, _ validVersion) bool { return seen[id] })
	for _, unchanged := range []bool{true, false} {
		for i, e := range c.entries {
			if _, was := last.withheld[e.sum]; e.id == (objectID{}) && was == unchanged {
				f.addUnusable(&c, i, last, missing)
			}
		}
	}
	return f
}

// addUnusable adds the error of an unusable entry, and keeps the objects that it may
// contain. Those are objects that the file had and now has no more, which are missing:
//
//   - If the last content had the entry too, the same as then: what was beside an unusable
//     document cannot be in it.
//   - If a name can be recognised, the objects of that name.
//   - Otherwise, the objects that were between the neighbours of the entry, except those
//     that an unusable entry of the last content may contain. Unchanged entries must have
//     been added before.
func (f *fileState) addUnusable(c *contents, index int, last *fileState, missing map[objectID]validVersion) {
	e := c.entries[index]
	err := *e.err
	defer func() { f.errs = append(f.errs, &err) }()
	if e.guess == nil {
		return
	}
	before, unchanged := last.withheld[e.sum]
	var lower, upper int
	if len(missing) > 0 {
		lower, upper = neighbours(c.entries, index, last)
	}
	kept := []objectID{}
	for id, version := range missing {
		switch {
		case unchanged && !slices.Contains(before, id), !e.guess.matches(id):
			continue
		case unchanged || e.guess.name != "":
		case version.index <= lower, version.index >= upper, f.objects[id].guessed && version.guessed:
			continue
		}
		version.index, version.guessed = index, true
		f.objects[id] = version
		kept = append(kept, id)
	}
	if f.withheld == nil {
		f.withheld = map[uint64][]objectID{}
	}
	f.withheld[e.sum] = append(f.withheld[e.sum], kept...)
	if len(kept) > 0 {
		err.Err = fmt.Errorf("%w; keeping the last valid version of %s, which it may contain", err.Err, listObjects(kept))
	}
}

// neighbours returns the places that the objects before and after an entry had in the last
// content. If objects have changed places, it returns the widest range.
func neighbours(entries []entry, index int, last *fileState) (lower, upper int) {
	lower, upper = -1, int(^uint(0)>>1)
	widest := upper
	previous := -1
	for i, e := range entries {
		version, known := last.objects[e.id]
		if !known || version.guessed {
			continue
		}
		switch {
		case version.index < previous:
			return -1, widest
		case i < index:
			lower = version.index
		case i > index:
			upper = min(upper, version.index)
		}
		previous = version.index
	}
	return lower, upper
}

func listObjects(ids []objectID) string {
	const limit = 3
	var names []string
	for _, id := range ids {
		names = append(names, id.String())
	}
	slices.Sort(names)
	if len(names) > limit {
		return fmt.Sprintf("%s and %d more objects", strings.Join(names[:limit], ", "), len(names)-limit)
	}
	return strings.Join(names, ", ")
}

// keepMovedObjects adds to found the last valid version of each object that no file has
// any more, except a file with an invalid version: the object has moved and became
// invalid at once.
func keepMovedObjects(before, found map[string]*fileState) {
	fileOf := map[string]string{} // the first file with an invalid version, by object
	for _, name := range slices.Sorted(maps.Keys(found)) {
		for object := range found[name].invalid {
			if _, ok := fileOf[object]; !ok {
				fileOf[object] = name
			}
		}
	}
	delete(fileOf, "")
	if len(fileOf) == 0 {
		return
	}
	known := map[objectID]bool{}
	for _, f := range found {
		for id := range f.objects {
			known[id] = true
		}
	}
	for _, old := range slices.Sorted(maps.Keys(before)) {
		for id, version := range before[old].objects {
			if known[id] {
				continue
			}
			name, ok := fileOf[id.String()]
			if !ok {
				continue
			}
			f := *found[name] // a copy, because before may hold the same fileState
			f.objects = maps.Clone(f.objects)
			f.objects[id] = version
			found[name], known[id] = &f, true
		}
	}
}
