package sources

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDepend has go test run a test of another module, which depends on a file that no
// package has.
func TestDepend(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		old := time.Now().Add(-time.Hour) // what is new is not trusted by the cache
		require.NoError(t, os.Chtimes(path, old, old))
	}
	data, err := os.ReadFile("sources.go")
	require.NoError(t, err)
	write("go.mod", "module example.com/m\n\ngo 1.26.0\n")
	write("sources/sources.go", string(data))
	write("asks/asks_test.go", `package asks

import (
	"testing"

	"example.com/m/sources"
)

func TestAsks(t *testing.T) {
	if err := sources.Depend(".."); err != nil {
		t.Fatal(err)
	}
}
`)
	write("other/deep/file.txt", "1")
	cached := func() bool {
		cmd := exec.Command("go", "test", "./asks")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return filepath.Base(string(out[:len(out)-1])) == "asks\t(cached)"
	}
	require.False(t, cached())
	require.True(t, cached())
	write("other/deep/file.txt", "22")
	require.False(t, cached(), "another file has changed")
	require.True(t, cached())
}
