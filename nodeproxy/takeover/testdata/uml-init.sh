#!/bin/sh
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
# The init process of a kernel in user mode, whose root is that of the host, read-only. It
# runs the test binary $TEST_BINARY, prints its result, and turns the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root KPNG_INSIDE_UML=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/modules/lib/modules /run/tmp
ln -s "/usr/lib/uml/modules/$(uname -r)" "/run/modules/lib/modules/$(uname -r)"
for module in ipv6 dummy ip_vs ip_vs_rr ip_set_hash_ipport ip_set_bitmap_port xt_set iptable_nat xt_comment xt_mark; do
	modprobe -d /run/modules "$module" || echo "no module $module"
done
# Modules are loaded on demand through a program without arguments.
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/modules "$@"\n' >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
cd "$TEST_DIR" && TMPDIR=/run/tmp "$TEST_BINARY" -test.v -test.run='^TestInsideUserModeLinux$'
echo "RESULT rc=$?"
poweroff -f || echo o >/proc/sysrq-trigger
