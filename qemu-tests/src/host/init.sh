#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# The first program of the guest: makes the distribution's image the root, and goes on with the harness's program.
# Words after "--" on the kernel's command line are arguments.
/bin/busybox --install -s /bin
export PATH=/bin
fail() {
    echo "guest: $*" >/dev/kmsg
    reboot -f
}

mkdir -p /proc /sys /dev /lower /layer /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev || fail "no devtmpfs"
for module in /modules/*.ko; do
    if [ -e "$module" ]; then insmod "$module" || fail "cannot load $module"; fi
done
tries=0
while ! [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || fail "no disk /dev/vda"
    usleep 20000
done
mount -t squashfs -o ro /dev/vda /lower || fail "cannot mount the image"
mount -t tmpfs -o size=60% layer /layer || fail "no tmpfs"
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work root /root || fail "no overlayfs"
if [ -b /dev/vdb ]; then
    mkdir -p "/root/usr/lib/modules/$(uname -r)"
    mount -t squashfs -o ro /dev/vdb "/root/usr/lib/modules/$(uname -r)" || fail "cannot mount the modules"
fi
mkdir -p /root/l7
mount --bind /l7 /root/l7
for mounted in dev proc sys; do mount --move /$mounted /root/$mounted; done
cd /root
mount --move . /
exec chroot . /l7/bin/guest guest "$@"
