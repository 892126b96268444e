"""Folders at absolute paths, for this process and its children alone.

The process gets a mount namespace of its own (``mount_namespaces(7)``): what is mounted here is seen by no other
process and is gone with the last one inside. Root does that directly; anybody else in a user namespace in which they
are who they are (``user_namespaces(7)``). Nothing is created on the real file system outside folders the user owns:
where a target does not exist and its parent is not the user's, the parent is covered by a copy made of bind mounts
that has one entry more; for a target directly below ``/`` that is a new root (``pivot_root(2)``).

Must be called in a process with one thread, before user code.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Optional

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_RELATIME = 1 << 21
MNT_DETACH = 2

#: Flags of ``statvfs`` that a remount must repeat: a user namespace may not take them off.
_KEPT_FLAGS = (
    (os.ST_NOSUID, MS_NOSUID),
    (getattr(os, "ST_NODEV", 4), MS_NODEV),
    (getattr(os, "ST_NOEXEC", 8), MS_NOEXEC),
    (getattr(os, "ST_NOATIME", 1024), MS_NOATIME),
    (getattr(os, "ST_NODIRATIME", 2048), MS_NODIRATIME),
    (getattr(os, "ST_RELATIME", 4096), MS_RELATIME),
)
_PIVOT_ROOT = {
    "x86_64": 155,
    "aarch64": 41,
    "riscv64": 41,
    "loongarch64": 41,
    "ppc64le": 203,
    "s390x": 217,
    "i686": 217,
}
_HINT = "Run the component in its image: --containers docker or --containers podman."


class MountError(OSError):
    """A folder could not be made to appear where the task wants it. ``hint`` says what to do."""

    hint = _HINT


def apply(mounts: Sequence[Mapping[str, Any]]) -> None:
    """Make every mount appear at its ``target``.

    Each mount has ``target`` (an absolute path), ``read_only``, and one of: ``source`` (an existing folder or file),
    ``files`` (name to text: a folder in memory), ``volume`` (a fresh folder below ``TMPDIR``, the same for the same
    name; with ``memory`` in memory, of at most ``size`` bytes).

    Raises:
        MountError: this system, kernel or container does not allow it, or a source is not there.
    """
    if not mounts:
        return
    if not sys.platform.startswith("linux"):
        raise MountError("a volume at %s needs Linux: %s" % (mounts[0]["target"], _HINT))
    mounter = _Mounter()
    ordered = sorted(mounts, key=lambda mount: mount["target"].count("/"))
    for mount in ordered:
        mounter.check(mount)
    cwd = os.getcwd()
    mounter.enter()
    sources = [mounter.stage(mount) for mount in ordered]  # all of them, before anything is covered
    for mount, source in zip(ordered, sources):  # noqa: B905 - Python 3.9 has no strict
        mounter.mount(mount, source)
    mounter.leave()
    os.chdir(cwd if os.path.isdir(cwd) else "/")


class _Mounter:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._scratch = os.environ.get("TMPDIR") or tempfile.gettempdir()
        self._stage = ""
        self._count = 0
        self._user_namespace = False
        self._covered: "set[str]" = set()

    # -------------------------------------------------------------- before
    def check(self, mount: Mapping[str, Any]) -> None:
        """Raises MountError for what can be seen to be wrong beforehand."""
        target, source = mount["target"], mount.get("source")
        if not os.path.isabs(target) or os.path.normpath(target) in ("/", "/proc", "/sys", "/dev"):
            raise MountError("nothing can be mounted at %r" % target)
        if source is not None and not os.path.exists(source):
            raise MountError("the folder %s, which belongs at %s, is not there" % (source, target))
        if source is not None and _inside(self._scratch, os.path.realpath(target)):
            raise MountError(
                "a volume at %s would hide the task's own folder %s; mount it elsewhere or set TMPDIR"
                % (target, self._scratch)
            )

    def enter(self) -> None:
        """A mount namespace of our own, from which nothing comes out."""
        self._stage = tempfile.mkdtemp(prefix=".mounts-", dir=self._scratch)
        uid, gid = os.getuid(), os.getgid()
        if self._libc.unshare(CLONE_NEWNS):
            if self._libc.unshare(CLONE_NEWUSER | CLONE_NEWNS):
                self._refused("the kernel gives this process no namespace of its own")
            self._user_namespace = True
            try:
                _write("/proc/self/setgroups", "deny")
                _write("/proc/self/uid_map", "%d %d 1" % (uid, uid))
                _write("/proc/self/gid_map", "%d %d 1" % (gid, gid))
            except OSError as error:
                raise MountError("a user namespace could not be set up: %s. %s" % (error, _HINT)) from None
        self._call("mount points cannot be made private", "none", "/", None, MS_REC | MS_PRIVATE)
        self._call("no memory file system", "tmpfs", self._stage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700")

    def leave(self) -> None:
        """Let go of what was needed on the way. What is mounted stays."""
        self._libc.umount2(os.fsencode(self._stage), MNT_DETACH)
        with contextlib.suppress(OSError):  # still in use where it was hidden; it goes with the task's own folder
            os.rmdir(self._stage)
        if self._user_namespace:
            self._drop_capabilities()

    # -------------------------------------------------------------- one mount
    def stage(self, mount: Mapping[str, Any]) -> str:
        """What belongs at the target, at a path that stays in sight whatever is mounted."""
        source = self._source(mount)
        if _inside(source, self._scratch):
            return source
        place = self._place(not os.path.isdir(source))
        self._call("%s cannot be mounted" % source, source, place, None, MS_BIND | MS_REC)
        return place

    def mount(self, mount: Mapping[str, Any], source: str) -> None:
        target = os.path.normpath(mount["target"])
        is_file = not os.path.isdir(source)
        self._make_target(target, is_file)
        self._keep_scratch(target, source)
        self._call("%s cannot be mounted at %s" % (source, target), source, target, None, MS_BIND | MS_REC)
        if mount.get("read_only"):
            flags = MS_REMOUNT | MS_BIND | MS_RDONLY | _flags(target)
            self._call("%s cannot be made read-only" % target, "none", target, None, flags)

    def _source(self, mount: Mapping[str, Any]) -> str:
        if mount.get("source") is not None:
            return os.path.realpath(mount["source"])
        if "files" in mount:
            folder = self._memory("mode=0755")
            for name, text in mount["files"].items():
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
                    file.write(text)
                os.chmod(path, 0o644)
            return folder
        if mount.get("memory"):
            size = mount.get("size")
            return self._memory("mode=0777" + (",size=%d" % size if size else ""))
        folder = os.path.join(self._scratch, "volumes", mount["volume"].replace("/", "_"))
        os.makedirs(folder, exist_ok=True)
        return folder

    def _memory(self, options: str) -> str:
        folder = self._place()
        self._call("no memory file system", "tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, options)
        return folder

    def _place(self, is_file: bool = False) -> str:
        self._count += 1
        path = os.path.join(self._stage, str(self._count))
        _make(path, is_file)
        return path

    def _keep_scratch(self, target: str, source: str) -> None:
        """A fresh volume at ``/tmp`` must not hide the task's own folder below ``/tmp``."""
        if _inside(self._scratch, target):
            inner = os.path.join(source, os.path.relpath(self._scratch, target))
            os.makedirs(inner, exist_ok=True)
            self._call("the task's folder cannot be kept", self._scratch, inner, None, MS_BIND | MS_REC)

    # -------------------------------------------------------------- targets
    def _make_target(self, target: str, is_file: bool) -> None:
        if os.path.exists(target):
            if os.path.isdir(target) == is_file:
                kinds = ("a folder", "a file") if is_file else ("a file", "a folder")
                raise MountError("%s is %s; what belongs there is %s" % (target, *kinds))
            return
        parent, missing = _nearest(target)
        if parent not in self._covered and not _own_place(parent):
            self._cover(parent, missing)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _make(target, is_file)

    def _cover(self, folder: str, extra: str) -> None:
        """Put over ``folder`` a folder in memory with the same entries, where ``extra`` can be made."""
        copy = self._memory("mode=%o" % stat.S_IMODE(os.stat(folder).st_mode))
        for name in os.listdir(folder):
            self._bind_entry(os.path.join(folder, name), os.path.join(copy, name))
        self._covered.add(folder)
        if folder == "/":
            self._new_root(copy)
        else:
            self._call("%s cannot be put over %s" % (extra, folder), copy, folder, None, MS_BIND | MS_REC)

    def _bind_entry(self, source: str, target: str) -> None:
        mode = os.lstat(source).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
            return
        _make(target, not stat.S_ISDIR(mode))
        if self._mount(source, target, None, MS_BIND | MS_REC, "") and ctypes.get_errno() not in (
            errno.EACCES,
            errno.EPERM,
            errno.ENOENT,
        ):
            self._refused("%s cannot be kept" % source)  # what the user may not enter anyway stays empty

    def _new_root(self, root: str) -> None:
        """Make ``root`` the root folder of this process."""
        old = os.path.join(root, ".mlplatform-old")
        os.mkdir(old)
        os.chdir(root)
        if self._pivot(root, old) == 0:
            os.chdir("/")
            self._libc.umount2(b"/.mlplatform-old", MNT_DETACH)
            os.rmdir("/.mlplatform-old")
            return
        os.rmdir(old)  # the root of an initial RAM disk cannot be moved away
        try:
            os.chroot(root)
        except OSError as error:
            raise MountError("no new root folder could be entered: %s. %s" % (error, _HINT)) from None
        os.chdir("/")

    def _pivot(self, root: str, old: str) -> int:
        number = _PIVOT_ROOT.get(os.uname().machine)
        if number is None:
            return -1
        return int(self._libc.syscall(ctypes.c_long(number), os.fsencode(root), os.fsencode(old)))

    # -------------------------------------------------------------- system calls
    def _mount(self, source: str, target: str, kind: Optional[str], flags: int, options: str) -> int:
        return int(
            self._libc.mount(
                os.fsencode(source),
                os.fsencode(target),
                os.fsencode(kind) if kind else None,
                ctypes.c_ulong(flags),
                options.encode("ascii") if options else None,
            )
        )

    def _call(self, what: str, source: str, target: str, kind: Optional[str], flags: int, options: str = "") -> None:
        if self._mount(source, target, kind, flags, options):
            self._refused(what)

    def _refused(self, what: str) -> None:
        number = ctypes.get_errno()
        raise MountError("%s: %s. %s" % (what, os.strerror(number), _HINT))

    def _drop_capabilities(self) -> None:
        """User code runs with no more rights inside the namespace than it had outside."""
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()
        if self._libc.capset(header, data):
            self._refused("rights inside the namespace cannot be given up")


def _inside(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or below it."""
    return (os.path.realpath(path) + "/").startswith(folder.rstrip("/") + "/")


def _make(path: str, is_file: bool) -> None:
    """An empty file or folder to mount on."""
    if is_file:
        with open(path, "x", encoding="ascii"):
            return
    os.mkdir(path)


def _nearest(target: str) -> "tuple[str, str]":
    """(the deepest folder above ``target`` that exists, the first name missing in it)."""
    missing = target
    parent = os.path.dirname(target)
    while not os.path.isdir(parent):
        if os.path.lexists(parent):
            raise MountError("%s is no folder, so nothing can be mounted at %s" % (parent, target))
        missing, parent = parent, os.path.dirname(parent)
    return parent, os.path.basename(missing)


def _own_place(folder: str) -> bool:
    """Whether an empty folder left in ``folder`` is nobody's trouble: it belongs to a user, or is everybody's."""
    status = os.stat(folder)
    if status.st_mode & stat.S_ISVTX and status.st_mode & stat.S_IWOTH:
        return True
    # in a user namespace everybody else's files seem to be nobody's, which this user may be
    return status.st_uid == os.getuid() != 0 and os.access(folder, os.W_OK)


def _flags(path: str) -> int:
    found = os.statvfs(path).f_flag
    return sum(mount for told, mount in _KEPT_FLAGS if found & told)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
