# SPDX-License-Identifier: MIT
"""A Debian 13 that QEMU boots with systemd: its root, its disk, its console."""

import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "l7switch"
SUITE = "trixie"

# What the guest has before the packages come: the system, their dependencies, and programs for both ends.
PACKAGES = (
    "systemd systemd-sysv dbus udev kmod iproute2 curl wrk python3 python3-websockets logrotate procps nginx-light pebble"
    " init-system-helpers ca-certificates openssl"
).split()
KERNEL = ["linux-image-amd64"]
# What `apt install ./l7switch-dkms_*.deb` brings besides; the headers are its Recommends.
DKMS = ["linux-headers-amd64", "linux-source"]

# Devices that nobody asks for have their drivers loaded by udev's trigger, which takes an emulated processor a minute; and there is no
# network that networkd could wait for.
COMMAND_LINE = (
    "console=ttyS0 no_timer_check panic=-1 random.trust_cpu=on net.ifnames=0 audit=0 systemd.show_status=0"
    " systemd.mask=systemd-udev-trigger.service systemd.mask=serial-getty@ttyS0.service"
    " systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket systemd.mask=systemd-networkd-wait-online.service"
)


def say(text: str) -> None:
    """Tells who waits."""
    print(f"packages: {text}", flush=True)


def shell(script: str, **more) -> str:
    """Runs a script of bash with the functions of kmod/build/lib.sh; what it prints."""
    text = f'. "{REPOSITORY}/kmod/build/lib.sh"\n{script}'
    done = subprocess.run(["bash", "-c", text, str(REPOSITORY / "kmod/build/x")], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise SystemExit(f"failed:\n{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout.strip()


def in_root(root: pathlib.Path, command: str) -> str:
    """Runs a command in a root, in a mount namespace of its own."""
    script = f"""
        set -e
        mount -t proc proc {root}/proc
        mount --bind /dev {root}/dev
        cp /etc/resolv.conf {root}/etc/resolv.conf
        exec chroot {root} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \\
            sh -ec {shlex.quote(command)}
    """
    return shell(f"as_root unshare --mount --propagation private bash -ec {shlex.quote(script)}")


def root(name: str, packages: list[str], from_backports: list[str], base: pathlib.Path | None = None) -> pathlib.Path:
    """A root with these packages, made once; on top of another one if there is one."""
    said = json.dumps([SUITE, packages, from_backports, str(base)])
    folder = CACHE / f"packages-{name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    if (folder / ".complete").exists():
        return folder
    say(f"making a Debian 13, once: {folder}")
    new = folder.with_suffix(".new")
    shell(f"as_root rm -rf --one-file-system {folder} {new}")
    if base:
        shell(f"as_root cp -a --reflink=auto {base} {new}")
    else:
        shell(f'as_root debootstrap --variant=minbase {SUITE} {new} "$(mirror)"')
        # The machine's own way to the archive.
        shell(f'for file in /etc/apt/apt.conf.d/*proxy*; do if [ -e "$file" ]; then as_root cp "$file" {new}/etc/apt/apt.conf.d/; fi; done')
    backports = f'echo "deb $(mirror) {SUITE}-backports main" | as_root tee {new}/etc/apt/sources.list.d/backports.list >/dev/null'
    shell(backports)
    in_root(
        new,
        "apt-get -o APT::Sandbox::User=root update -qq;"
        f" apt-get -o APT::Sandbox::User=root install -y -qq --no-install-recommends {' '.join(packages)};"
        f" apt-get -o APT::Sandbox::User=root install -y -qq --no-install-recommends -t {SUITE}-backports {' '.join(from_backports)};"
        " apt-get clean",
    )
    shell(f"as_root touch {new}/.complete; as_root mv {new} {folder}")
    return folder


def initramfs(tree: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The archive that mounts the disk and goes on with its systemd: busybox and what the disk needs of modules."""
    release = kernel(tree).name.removeprefix("vmlinuz-")
    stage = folder / "initramfs"
    (stage / "modules").mkdir(parents=True)
    for name in ("bin", "proc", "sys", "dev", "root"):
        (stage / name).mkdir()
    busybox = next(
        path for path in (CACHE / "tools/bin/busybox", pathlib.Path("/usr/bin/busybox"), pathlib.Path("/bin/busybox"))
        if path.exists() and subprocess.run(["ldd", path], capture_output=True, check=False).returncode != 0
    )
    shutil.copy(busybox, stage / "bin/busybox")
    needed: list[str] = []
    for module in ("virtio_pci", "virtio_blk", "ext4"):
        printed = subprocess.run(
            ["/sbin/modprobe", "-d", tree, "-S", release, "--show-depends", module], capture_output=True, text=True, check=True
        ).stdout
        paths = [line.split()[1] for line in printed.splitlines() if line.startswith("insmod")]
        needed += [path for path in paths if path not in needed]
    for number, path in enumerate(needed):
        name = pathlib.Path(path).name
        copy = stage / "modules" / f"{number:02}-{name}"
        shutil.copy(path, copy)
        if name.endswith(".xz"):
            subprocess.run(["xz", "-d", copy], check=True)
    (stage / "init").write_text(
        "#!/bin/busybox sh\n"
        "/bin/busybox --install -s /bin\nexport PATH=/bin\n"
        "mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n"
        "for module in /modules/*.ko; do insmod $module; done\n"
        "until [ -b /dev/vda ]; do usleep 20000; done\n"
        "mount -t ext4 /dev/vda /root || reboot -f\n"
        "for mounted in dev proc sys; do mount --move /$mounted /root/$mounted; done\n"
        "exec switch_root /root /sbin/init\n"
    )
    (stage / "init").chmod(0o755)
    archive = folder / "initramfs.cpio"
    with archive.open("wb") as file:
        subprocess.run("find . | cpio --create --quiet --format=newc", shell=True, cwd=stage, stdout=file, check=True)
    return archive


def kernel(tree: pathlib.Path) -> pathlib.Path:
    """The newest kernel of a root."""
    return max((tree / "boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)


class Machine:
    """A disk made from a root, and what is booted from it."""

    def __init__(self, name: str, base: pathlib.Path, folder: pathlib.Path) -> None:
        self.name = name
        self.folder = folder / name
        shell(f"as_root rm -rf --one-file-system {self.folder}")
        self.folder.mkdir(parents=True)
        self.tree = self.folder / "root"
        shell(f"as_root cp -a --reflink=auto {base} {self.tree}")

    def boot(self, script: pathlib.Path, files: dict[str, list[pathlib.Path]], limit: int) -> list[dict]:
        """Boots it, has its systemd run the script, and waits for the end of the machine: what the script has told, line by line."""
        for inside, sources in files.items():
            shell(f"as_root mkdir -p {self.tree}{inside}; as_root cp {' '.join(map(str, sources))} {self.tree}{inside}")
        unit = (
            "[Unit]\nDescription=checks\nAfter=multi-user.target\n[Service]\nType=exec\n"
            f"ExecStart=/usr/bin/python3 -u /l7/{script.name}\nStandardOutput=journal+console\nWorkingDirectory=/l7\n"
            "[Install]\nWantedBy=default.target\n"
        )
        (self.folder / "l7-checks.service").write_text(unit)
        shell(
            f"""
            as_root mkdir -p {self.tree}/l7
            as_root cp {script} {self.tree}/l7/
            as_root cp {self.folder}/l7-checks.service {self.tree}/etc/systemd/system/
            as_root mkdir -p {self.tree}/etc/systemd/system/default.target.wants
            as_root ln -sfn /etc/systemd/system/l7-checks.service {self.tree}/etc/systemd/system/default.target.wants/
            as_root ln -sfn multi-user.target {self.tree}/etc/systemd/system/default.target
            echo {SUITE} | as_root tee {self.tree}/etc/hostname >/dev/null
            # The archive cannot be reached: what is installed comes from files.
            as_root rm -rf {self.tree}/etc/apt/sources.list {self.tree}/etc/apt/sources.list.d {self.tree}/var/lib/apt/lists
            as_root rm -f {self.tree}/etc/machine-id {self.tree}/etc/resolv.conf
            as_root mkdir -p {self.tree}/var/log/journal
            size=$(as_root du -sm {self.tree} | cut -f1)
            as_root env PATH=$PATH:/usr/sbin mke2fs -q -t ext4 -d {self.tree} {self.folder}/disk $((size * 5 / 4 + 1500))M
            """
        )
        archive = initramfs(self.tree, self.folder)
        image = self.folder / "vmlinuz"
        shutil.copy(kernel(self.tree), image)
        shell(f"as_root rm -rf --one-file-system {self.tree}")
        told = self.folder / "told"
        accelerator = os.environ.get("L7_ACCEL", "tcg")
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-display", "none", "-nic", "none"]
        command += ["-accel", "tcg,thread=single" if accelerator == "tcg" else accelerator]
        command += ["-cpu", "max,la57=off" if accelerator == "tcg" else "host", "-smp", "2", "-m", "2048"]
        command += ["-kernel", image, "-initrd", archive, "-append", COMMAND_LINE]
        command += ["-drive", f"file={self.folder}/disk,format=raw,if=none,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk"]
        command += ["-serial", f"file:{self.folder}/console", "-serial", f"file:{told}"]
        began = time.monotonic()
        with (self.folder / "qemu").open("w") as messages:
            qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages)
        try:
            seen = 0
            while qemu.poll() is None and time.monotonic() - began < limit:
                time.sleep(1)
                # The last one may not be whole.
                lines = told.read_text(errors="replace").split("\n")[:-1] if told.exists() else []
                for line in lines[seen:]:
                    self.show(line)
                seen = len(lines)
        finally:
            ended = qemu.poll() is not None
            qemu.kill()
            qemu.wait()
        lines = [json.loads(line) for line in told.read_text(errors="replace").splitlines() if line.startswith("{")]
        if not ended:
            lines.append({"name": "the machine's end", "fault": f"it ran longer than {limit} s; its console: {self.folder}/console"})
        (self.folder / "disk").unlink()
        return lines

    def show(self, line: str) -> None:
        """Tells one line of the guest's."""
        try:
            told = json.loads(line)
        except ValueError:
            return
        mark = "FAILED" if told.get("fault") else "ok"
        say(f"{self.name}: {mark}: {told['name']}: {told.get('fault') or told.get('said', '')} ({told.get('seconds', 0):.1f} s)")
