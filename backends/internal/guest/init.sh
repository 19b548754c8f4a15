#!/bin/bash
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# The first process of a guest. The kernel passes GUEST_SCRIPT, the command to run, GUEST_MODULES,
# the kernel modules to load, and GUEST_MODULES_DIR, where modules are, in its environment.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /run/netns /run/tmp /run/lock /run/m/lib/modules
ln -s "$GUEST_MODULES_DIR/$(uname -r)" "/run/m/lib/modules/$(uname -r)"
# The kernel loads modules on demand through this command.
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/m "$@"\n' >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
export TMPDIR=/run/tmp XTABLES_LOCKFILE=/run/xtables.lock
for module in ${GUEST_MODULES//,/ }; do /run/modprobe "$module"; done
ip link set lo up
echo guest >/proc/sys/kernel/hostname
ulimit -n 65536
bash "$GUEST_SCRIPT"
echo "guest: exit $? after $(cut -d' ' -f1 /proc/uptime) s"
echo o >/proc/sysrq-trigger
sleep 1
exec /sbin/halt -f -p
