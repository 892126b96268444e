"""Errors of the operating system in words, with what to do next."""

from __future__ import annotations

import errno

from mlplatform.core.errors import ArtifactError

_HINTS = {
    errno.ENOSPC: ("the disk is full", "Free some space (`mlplatform gc` removes what no run needs), then try again."),
    errno.EDQUOT: ("your disk quota is used up", "Free some space, then try again."),
    errno.EACCES: ("permission denied", "Check who owns the file and its folders, and their modes."),
    errno.EPERM: ("it is not permitted", "Check who owns the file and its folders, and their modes."),
    errno.EROFS: ("the file system is read-only", "Choose another place."),
    errno.ENOENT: ("it does not exist", ""),
    errno.ENAMETOOLONG: ("the name is too long", "Choose shorter names."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", ""),
    errno.ELOOP: ("its links go round in circles", "Remove the link."),
}


def local_failure(doing: str, error: OSError) -> ArtifactError:
    """``doing`` is what was tried, with the path: ``read /data/x``."""
    what, hint = _HINTS.get(error.errno or 0, (error.strerror or str(error), ""))
    return ArtifactError(f"cannot {doing}: {what}", hint=hint)
