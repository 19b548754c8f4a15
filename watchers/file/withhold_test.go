// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnusableDocumentWithholdsOnlyWhatItMayContain replaces the content of a file. The
// Services that the new content does not have are deleted, except those that an unusable
// document may contain.
func TestUnusableDocumentWithholdsOnlyWhatItMayContain(t *testing.T) {
	a, b, c := service("a", "10.0.0.1"), service("b", "10.0.0.2"), service("c", "10.0.0.3")
	ja, jb, jc := jsonService("a", "10.0.0.1"), jsonService("b", "10.0.0.2"), jsonService("c", "10.0.0.3")
	const values, broken, brokenB = "replicaCount: 2\n", "kind: [\n", "kind: Service\nmetadata:\n  name: b\nspec: [\n"
	list := func(items ...string) string {
		return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",\n") + `]}`
	}
	for _, x := range []struct {
		name          string
		before, after []string // documents
		valid         string   // the valid Services after
		withheld      string   // the Services that are kept
	}{
		{"other YAML", []string{a, b, values}, []string{a, values}, "a", ""},
		{"new other YAML", []string{a, b}, []string{a, values}, "a", ""},
		{"scalar", []string{a, b}, []string{a, "hello\n"}, "a", ""},
		{"unknown kind", []string{a, b}, []string{a, "apiVersion: v1\nkind: Servlet\nmetadata: {name: b}\n"}, "a", ""},
		{"unknown group", []string{a, b}, []string{a, "apiVersion: apps/v1\nmetadata: {name: b}\n"}, "a", ""},
		{"broken before and after", []string{a, b, broken}, []string{a, broken}, "a", ""},
		{"broken before and after, at another place", []string{a, b, c, broken}, []string{broken, a}, "a", ""},
		{"broken between the same neighbours", []string{a, b, c}, []string{a, broken, c}, "ac", "b"},
		{"broken beside a deletion", []string{a, b, c}, []string{broken, b}, "b", "a"},
		{"broken instead of the last", []string{a, b, c}, []string{a, b, broken}, "ab", "c"},
		{"all but a broken one deleted", []string{a, b, c}, []string{broken}, "", "abc"},
		{"broken and another order", []string{a, b, c}, []string{b, broken, a}, "ab", "c"},
		{"named", []string{a, b, c}, []string{brokenB}, "", "b"},
		{"named in another namespace", []string{a, b}, []string{a, strings.Replace(brokenB, "name:", "namespace: x\n  name:", 1)}, "a", ""},
		{"other kind", []string{a, b}, []string{a, strings.Replace(brokenB, "Service", "ConfigMap", 1)}, "a", ""},
		{"kind cut off", []string{a, b}, []string{a, "x: [\nkind: Serv"}, "a", "b"},
		{"kind missing", []string{a, b, c}, []string{a, "apiVersion: v1\nmetadata: {name: b}\n"}, "a", "b"},
		{"name missing", []string{a, b, c}, []string{a, "apiVersion: v1\nkind: Service\n", c}, "ac", "b"},
		{"name of another kind missing", []string{a, b}, []string{a, "apiVersion: v1\nkind: Node\n"}, "a", ""},
		{"metadata of a wrong type", []string{a, b, c}, []string{a, "apiVersion: v1\nkind: Service\nmetadata: 7\n"}, "a", "bc"},
		{"labels with a name", []string{a, b}, []string{a, "kind: Service\nmetadata:\n  labels:\n    name: x\n  name: b\nspec: [\n"}, "a", "b"},
		{"JSON, named before the error", []string{ja, jb, jc}, []string{ja, jb[:len(jb)-1]}, "a", "b"},
		{"JSON, not named before the error", []string{ja, jb, jc}, []string{ja, jb[:30], jc}, "ac", "b"},
		{"half a file", []string{a, b, c}, []string{a, b[:25] + "\n: ["}, "a", "bc"},
		{"half a List", []string{list(ja, jb, jc)}, []string{list(ja, jb, jc)[:150]}, "", "abc"},
		{"List with items of a wrong type", []string{list(ja, jb), c}, []string{`{"apiVersion":"v1","kind":"List","items":7}`, c}, "c", "ab"},
		{"item without name", []string{list(ja, jb, `{"apiVersion":"v1","kind":"Service"}`, jc)}, []string{list(ja, `{"apiVersion":"v1","kind":"Service"}`)}, "a", ""},
		{"item that lost its name", []string{list(ja, jb, jc)}, []string{list(`{"apiVersion":"v1","kind":"Service"}`, jb)}, "b", "a"},
		{"separator lost", []string{a, b, c}, []string{a + b}, "b", "a"},
		{"separator lost and a syntax error", []string{a, b, c}, []string{a + b + ": [", c}, "c", "ab"},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newScanner(t)
			check := func(documents ...string) {
				s.put("f.yaml", strings.Join(documents, "\n---\n"))
				objects, errs := s.scan()
				var want []string
				for _, o := range []string{serviceA, serviceB, serviceC} {
					name := strings.Fields(o)[1]
					if strings.Contains(x.valid+x.withheld, strings.TrimPrefix(name, "default/")) {
						want = append(want, o)
					}
					kept := strings.Contains(x.withheld, strings.TrimPrefix(name, "default/"))
					keptText := regexp.MustCompile("keeping the last valid version of .*Service " + name)
					require.Equal(t, kept, keptText.MatchString(strings.Join(errs, "\n")), "%s in %q", name, errs)
				}
				require.Equal(t, want, objects, "%q", errs)
			}
			s.put("f.yaml", strings.Join(x.before, "\n---\n"))
			s.scan()
			check(x.after...)
			check(append([]string{"# edited elsewhere"}, x.after...)...)
			check(append(x.after, "# and again")...)
			s.put("f.yaml", "# no documents\n")
			objects, errs := s.scan()
			require.Empty(t, objects)
			require.Empty(t, errs)
		})
	}
}

// TestRandomEdits edits a file at random. What is valid is served, what is not in the file
// and cannot be in a broken document is not, and an object whose document is broken stays.
func TestRandomEdits(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := newScanner(t)
		var names []string // of the documents of the file; a broken one has a "!" before its name
		text := func(name string) string {
			if broken, ok := strings.CutPrefix(name, "!"); ok {
				return "# " + broken + "\nspec: [\n"
			}
			return service(name, "10.0.0.1")
		}
		kept := map[string]bool{} // objects of broken documents
		known := map[string]bool{}
		for step := range 12 {
			i := r.IntN(len(names) + 1)
			broke := ""
			switch action := r.IntN(4); {
			case action < 2 || i == len(names): // insert
				names = slices.Insert(names, i, fmt.Sprintf("n%d-%d", step, len(names)))
			case action == 2: // delete
				delete(kept, strings.TrimPrefix(names[i], "!"))
				names = slices.Delete(names, i, i+1)
			case !strings.HasPrefix(names[i], "!"): // break
				broke = names[i]
				kept[broke] = true
				names[i] = "!" + broke
			default: // correct
				names[i] = names[i][1:]
				delete(kept, names[i])
			}
			var documents []string
			want := map[string]bool{}
			for _, name := range names {
				documents = append(documents, text(name))
				if !strings.HasPrefix(name, "!") {
					want[name], known[name] = true, true
				}
			}
			for name := range kept {
				want[name] = known[name]
			}
			s.put("f.yaml", strings.Join(documents, "---\n"))
			objects, errs := s.scan()
			got := map[string]bool{}
			for _, o := range objects {
				got[strings.TrimPrefix(strings.Fields(o)[1], "default/")] = true
			}
			require.Equal(t, want, got, "seed %d, step %d: %v broke %q: %q", seed, step, names, broke, errs)
		}
	}
}
