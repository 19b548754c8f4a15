// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// An image is one target of the Containerfile.
type image struct {
	base       string            // scratch, or the image of a distribution
	install    string            // the command that installs packages of the distribution
	copied     map[string]string // destination by path in the build stage
	user       string
	entrypoint string // as JSON
}

// readContainerfile returns the command that builds the programs, and the images by target. It
// fails on any other instruction, since no test would cover it.
func readContainerfile(t *testing.T) (build string, images map[string]image) {
	data, err := os.ReadFile("../../Containerfile")
	require.NoError(t, err)
	images = map[string]image{}
	target := ""
	for line := range strings.Lines(string(data)) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields := strings.Fields(rest)
		current := images[target]
		switch {
		case instruction == "" || instruction == "#" || instruction == "ARG":
		case instruction == "FROM":
			target = fields[len(fields)-1]
			if target != "build" {
				require.Equal(t, []string{"AS", target}, fields[1:])
				images[target] = image{base: fields[0], copied: map[string]string{}}
			}
		case target == "build" && instruction == "RUN":
			require.Empty(t, build, "one command builds all")
			build = rest
		case target != "" && instruction == "RUN":
			current.install = rest
			images[target] = current
		case target == "build" && (instruction == "WORKDIR" || rest == ". ."):
		case instruction == "COPY":
			require.Equal(t, "--from=build", fields[0])
			current.copied[fields[1]] = fields[2]
		case instruction == "USER":
			current.user = rest
			images[target] = current
		case instruction == "ENTRYPOINT":
			current.entrypoint = rest
			images[target] = current
		default:
			t.Fatalf("Containerfile: unexpected %q", line)
		}
	}
	return build, images
}

// TestContainerfile runs the build command of the Containerfile and checks that the images have
// what the manifests start.
func TestContainerfile(t *testing.T) {
	build, images := readContainerfile(t)
	require.Contains(t, build, " -buildvcs=true ", "the version is part of the program")
	out := t.TempDir()
	command := exec.Command("sh", "-c", strings.NewReplacer(" -o /out/ ", " -o "+out+"/ ", " -buildvcs=true ", " -buildvcs=auto ").Replace(build))
	command.Dir = "../.."
	command.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH=amd64")
	text, err := command.CombinedOutput()
	require.NoError(t, err, string(text))

	for target, i := range images {
		name, isLarge := strings.CutSuffix(target, "-iptables")
		require.Equal(t, isLarge, i.base != "scratch", target)
		require.Equal(t, isLarge, strings.Contains(i.install, " iptables "), "%s: commands of iptables", target)
		require.Equal(t, map[string]string{"/out/" + name: "/" + name}, i.copied)
		require.Equal(t, `["/`+name+`"]`, i.entrypoint)
		path := filepath.Join(out, name)
		info, err := buildinfo.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "sigs.k8s.io/kpng/examples/"+name, info.Path)
		program, err := elf.Open(path)
		require.NoError(t, err)
		libraries, err := program.ImportedLibraries()
		require.NoError(t, err)
		require.Empty(t, libraries)
		require.False(t, slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), "%s is static", name)
		require.NoError(t, program.Close())
	}
	for name, pod := range podTemplates(t) {
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			program := strings.TrimPrefix(c.Command[0], "/")
			i, ok := images[program]
			require.True(t, ok, "%s: no image for %s", name, c.Command)
			require.Regexp(t, `/(kpng-)?`+program+`:`, c.Image)
			require.Empty(t, i.user, "%s: user of the image", name)
			if s := pod.SecurityContext; s != nil && s.RunAsNonRoot != nil && *s.RunAsNonRoot {
				require.EqualValues(t, 65532, *s.RunAsUser, "%s: the image is for root", name)
			}
		}
	}
}

// podTemplates returns the pods of the committed manifests by file.
func podTemplates(t *testing.T) map[string]corev1.PodSpec {
	pods := map[string]corev1.PodSpec{}
	for _, m := range committedManifests() {
		files, err := render(m.chart, m.values)
		require.NoError(t, err)
		for _, o := range objects(t, map[string]string{m.template: files[m.template]}) {
			if o.GetKind() != "DaemonSet" && o.GetKind() != "Deployment" {
				continue
			}
			var workload struct {
				Spec struct{ Template corev1.PodTemplateSpec }
			}
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &workload))
			pods[m.file] = workload.Spec.Template.Spec
		}
	}
	require.Len(t, pods, 6)
	return pods
}
