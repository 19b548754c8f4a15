// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A container runs one container of a pod with runc, as a node would: with the image's files
// and nothing else, and the security context of the manifest.
type container struct {
	fx      *fixture
	pod     corev1.PodSpec
	spec    corev1.Container
	node    string
	binary  string            // the only file of the image, as the Containerfile makes it
	volumes map[string]string // paths by name of the volume
	account string            // the directory with the token of the service account
}

// bundle writes an OCI bundle and returns its directory.
func (c container) bundle(t *testing.T) string {
	dir := t.TempDir()
	command := exec.Command("runc", "spec")
	command.Dir = dir
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	var spec specs.Spec
	require.NoError(t, json.Unmarshal(data, &spec))

	root := filepath.Join(dir, "rootfs")
	require.NoError(t, os.Mkdir(root, 0o755))
	program, err := os.ReadFile(c.binary)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, c.spec.Command[0]), program, 0o755))

	env := map[string]string{}
	for _, e := range c.spec.Env {
		if env[e.Name] = e.Value; e.ValueFrom != nil {
			require.Equal(t, "spec.nodeName", e.ValueFrom.FieldRef.FieldPath)
			env[e.Name] = c.node
		}
	}
	spec.Process.Terminal = false
	spec.Process.Env = nil
	for name, value := range env {
		spec.Process.Env = append(spec.Process.Env, name+"="+value)
	}
	spec.Process.Args = slices.Clone(c.spec.Command)
	for _, arg := range c.spec.Args {
		for name, value := range env {
			arg = strings.ReplaceAll(arg, "$("+name+")", value)
		}
		spec.Process.Args = append(spec.Process.Args, arg)
	}
	c.mount(t, &spec)
	c.restrict(t, &spec)
	// No network namespace of its own: hostNetwork.
	require.True(t, c.pod.HostNetwork)
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	data, err = json.Marshal(&spec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600))
	return dir
}

// mount adds the volumes of the container and, as the kubelet does, the token.
func (c container) mount(t *testing.T, spec *specs.Spec) {
	bind := func(source, destination string, readOnly bool) {
		_, err := os.Stat(source)
		require.NoError(t, err, destination)
		options := []string{"rbind", "rw"}
		if readOnly {
			options[1] = "ro"
		}
		spec.Mounts = append(spec.Mounts, specs.Mount{Type: "bind", Source: source, Destination: destination, Options: options})
	}
	for _, m := range c.spec.VolumeMounts {
		bind(c.volumes[m.Name], m.MountPath, m.ReadOnly)
	}
	bind(c.account, "/var/run/secrets/kubernetes.io/serviceaccount", true)
}

// restrict applies the security context, as containerd does.
func (c container) restrict(t *testing.T, spec *specs.Spec) {
	s := c.spec.SecurityContext
	spec.Root.Readonly = *s.ReadOnlyRootFilesystem
	privileged := s.Privileged != nil && *s.Privileged
	spec.Process.NoNewPrivileges = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
	var capabilities []string
	switch {
	case privileged:
		capabilities = allCapabilities(t)
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
		for i, m := range spec.Mounts {
			if m.Type == "sysfs" || m.Type == "cgroup" {
				spec.Mounts[i].Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "ro" })
			}
		}
		spec.Linux.Resources.Devices[0].Allow = true
	default:
		require.Equal(t, []corev1.Capability{"ALL"}, s.Capabilities.Drop)
		for _, added := range s.Capabilities.Add {
			capabilities = append(capabilities, "CAP_"+string(added))
		}
	}
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities}
	if s.RunAsUser != nil {
		spec.Process.User.UID = uint32(*s.RunAsUser)
	}
	if s.RunAsGroup != nil {
		spec.Process.User.GID = uint32(*s.RunAsGroup)
	}
	if !privileged {
		require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, s.SeccompProfile.Type)
		profile, err := seccomp.GetDefaultProfile(spec)
		require.NoError(t, err)
		spec.Linux.Seccomp = profile
	}
}

// capabilityNames are the names of the kernel, by number.
const capabilityNames = `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
	NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
	SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`

// allCapabilities returns the capabilities of this process, which are those of a privileged
// container: the machine of the test may lack some.
func allCapabilities(t *testing.T) (all []string) {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(status), "CapEff:")
	held, err := strconv.ParseUint(strings.Fields(after)[0], 16, 64)
	require.NoError(t, err)
	for i, name := range strings.Fields(capabilityNames) {
		if held&(1<<i) != 0 {
			all = append(all, "CAP_"+name)
		}
	}
	return all
}

// start starts the container in the namespace of the fixture. It is deleted when the test
// ends.
func (c container) start(t *testing.T) *process {
	state := t.TempDir()
	id := fmt.Sprintf("kpng-test-%d-%s", os.Getpid(), filepath.Base(filepath.Dir(state))+filepath.Base(state))
	t.Cleanup(func() {
		if out, err := exec.Command("runc", "--root="+state, "delete", "--force", id).CombinedOutput(); err != nil {
			t.Logf("runc delete: %v: %s", err, out)
		}
	})
	return c.fx.start(t, "runc", nil, "--root="+state, "run", "--bundle="+c.bundle(t), id)
}

// serviceAccount writes the directory that the kubelet mounts for a pod, and returns it.
func (fx *fixture) serviceAccount(t *testing.T, pod *corev1.Pod) string {
	dir := t.TempDir()
	for name, data := range map[string]string{
		"token": fx.token(t, pod.Namespace, pod.Spec.ServiceAccountName, "", pod), "ca.crt": string(fx.config.CAData), "namespace": pod.Namespace,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
	}
	return dir
}

// configMap writes the directory that the kubelet mounts for a volume, and returns it.
func (fx *fixture) configMap(t *testing.T, inNamespace, name string) string {
	object, err := fx.client.CoreV1().ConfigMaps(inNamespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	dir := t.TempDir()
	for key, data := range object.Data {
		require.NoError(t, os.WriteFile(filepath.Join(dir, key), []byte(data), 0o644))
	}
	return dir
}
