// Package sources is for tests that run the go command: Go's cache of test results does not
// know what such a test depends on, and would report an old result as one of today.
package sources

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Depend makes the result of the running test depend on every file of the module whose
// root is given: go test notes which directories a test reads, and what is in them. It
// has to be called by a test, not by TestMain before m.Run.
func Depend(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || !d.IsDir():
			return err
		case path != root && strings.HasPrefix(d.Name(), "."), d.Name() == "node_modules":
			return filepath.SkipDir
		}
		_, err = os.ReadDir(path) // WalkDir may read it by means that are not noted
		return err
	})
}
