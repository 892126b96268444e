"""What a task may look at without its result depending on it in a way worth a rerun.

Installed packages are in the cache key by the digest of the environment; system locations change with the system. What
a task *executes* from these places counts nevertheless.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from .fields import objects, section

#: Kernel, devices, libraries, locales, time zones, fonts, certificates, name services, CUDA.
SYSTEM = (
    "/proc", "/sys", "/dev", "/run/systemd", "/run/nscd", "/var/run/nscd", "/run/user", "/nix/store", "/snap",
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share", "/usr/include",
    "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib", "/usr/local/lib64", "/usr/local/include", "/usr/local/cuda",
    "/usr/local/share/fonts", "/usr/local/share/ca-certificates", "/usr/local/share/zoneinfo", "/opt/cuda",
    "/var/cache/fontconfig", "/var/lib/sss", "/System", "/Library", "/opt/homebrew/lib", "/opt/homebrew/Cellar",
    "/etc/localtime", "/etc/timezone", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/nsswitch.conf", "/etc/host.conf", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/gai.conf",
    "/etc/passwd", "/etc/group", "/etc/services", "/etc/protocols", "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
    "/etc/ca-certificates.conf", "/etc/mime.types", "/etc/apache2/mime.types", "/etc/httpd/mime.types", "/etc/fonts",
    "/etc/os-release", "/etc/lsb-release", "/etc/debian_version", "/etc/locale.alias", "/etc/locale.conf",
    "/etc/machine-id", "/etc/alternatives", "/etc/inputrc", "/etc/papersize", "/etc/OpenCL", "/etc/nvidia",
)  # fmt: skip
#: Below the user's home: caches and settings that change no result.
IN_HOME = (
    ".cache/matplotlib", ".config/matplotlib", ".matplotlib", ".cache/fontconfig", ".fonts", ".fonts.conf",
    ".config/fontconfig", ".local/share/fonts", ".cache/pip", ".config/pip", ".cache/uv", ".config/uv", ".nv",
    ".triton",    ".cache/torch/kernels", ".cache/mlplatform", ".python_history", ".config/mlplatform",
    ".config/mlflow", ".ipython",
    ".jupyter",
)  # fmt: skip
#: Variables that differ between two logins and mean nothing to a task, unless it asks for one by its name.
NOISE = frozenset(
    (
        "PWD", "OLDPWD", "SHLVL", "_", "TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM", "COLUMNS", "LINES",
        "LS_COLORS", "LSCOLORS", "PS1", "PROMPT", "HISTSIZE", "HISTFILE", "WINDOWID", "DISPLAY", "WAYLAND_DISPLAY",
        "XAUTHORITY", "HOSTNAME", "HOSTTYPE", "LOGNAME", "MAIL", "SHELL", "EDITOR", "VISUAL", "PAGER", "LESS", "TMUX",
        "TMUX_PANE", "STY", "INVOCATION_ID", "JOURNAL_STREAM", "VIRTUAL_ENV_PROMPT", "JPY_PARENT_PID",
        "JPY_SESSION_NAME",         "CLICOLOR", "FORCE_COLOR", "GIT_PAGER", "MPLBACKEND", "PYDEVD_USE_FRAME_EVAL",
        "PYTEST_CURRENT_TEST",
        "MAKEFLAGS",        "MFLAGS", "MAKELEVEL", "PYTEST_VERSION", "PYTEST_XDIST_WORKER",
    )
)  # fmt: skip
#: Variables by which libraries guess what drives them: a terminal, a notebook, a build machine, a coding agent.
DRIVERS = frozenset(
    (
        "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TRAVIS",
        "CIRCLECI", "BUILDKITE", "TEAMCITY_VERSION", "TF_BUILD", "CODEBUILD_BUILD_ARN", "BITBUCKET_BUILD_NUMBER",
        "AGENT",
        "CLAUDECODE", "OPENCODE", "BUILD_NUMBER", "RUN_ID", "PYCHARM_HOSTED", "SPYDER_ARGS", "KAGGLE_KERNEL_RUN_TYPE",
    )
)  # fmt: skip
_DRIVER_PREFIXES = ("AI_AGENT", "CLAUDE_", "CODEX_", "CURSOR_", "COPILOT_", "GEMINI_", "COLAB_", "RUNBOT_", "GITHUB_")
_NOISE_PREFIXES = (
    "SSH_",
    "XDG_",
    "DBUS_",
    "VSCODE_",
    "GNOME_",
    "KDE_",
    "GPG_",
    "LC_TERMINAL",
    "ITERM_",
    "JUPYTER",
    "BASH_FUNC_",
)
#: Variables of the platform and of tracking; they differ between attempts.
_OURS = ("MLPLATFORM_", "MLFLOW_", "_KFP_", "LD_PRELOAD", "TMPDIR")


def noise(name: str) -> bool:
    """A variable that does not count where all are handed on, nor where an installed package asks for it."""
    return name in NOISE or name in DRIVERS or name.startswith((*_NOISE_PREFIXES, *_DRIVER_PREFIXES))


def ours(name: str) -> bool:
    return name.startswith(_OURS)


class Fixed:
    """The part that is the same for all attempts of one interpreter and user."""

    def __init__(self, home: str) -> None:
        found = [*SYSTEM, *(os.path.join(home, name) for name in IN_HOME), *packages()]
        found.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.prefixes = tuple(dict.fromkeys(path for path in _both(found) if path != "/"))
        self.exact = frozenset(self.prefixes)
        self.above = frozenset(parent for path in self.prefixes for parent in _parents(path))
        self.text = "\n".join(self.prefixes)


@lru_cache(maxsize=4)
def fixed(home: str) -> Fixed:
    """Made once, before the fork."""
    return Fixed(home)


def _both(paths: Iterable[str]) -> Iterator[str]:
    """Absolute paths as they are, and as what they lead to."""
    for path in paths:
        if path.startswith("/") and path.rstrip("/"):
            yield path.rstrip("/")
            yield os.path.realpath(path)


def packages() -> list[str]:
    """Folders of this interpreter: its standard library and installed packages; its whole prefix if that is its own."""
    paths = sysconfig.get_paths()
    found = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts", "include")]
    found += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    found.append(site.getusersitepackages() if site.ENABLE_USER_SITE else "")
    for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix):
        if prefix not in ("/", "/usr", "/usr/local"):
            found.append(prefix)
    return [path for path in found if path]


def own(spec: Mapping[str, Any]) -> list[str]:
    """Folders and files that do not count for this attempt besides the fixed ones: its own, its inputs and outputs
    (they are in the key or in the result), the platform's."""
    found = [spec["scratch"], os.path.dirname(spec["result"]), spec.get("log") or ""]
    found += [str(path) for path in spec.get("trace_ignore") or ()]
    found += [section(spec, "python").get("kfp_path") or "", *(spec.get("hooks") or ())]
    found += [entry["path"] for entry in spec["outputs"]["artifacts"].values()]
    found += [entry["path"] for entry in spec["outputs"]["parameters"].values()]
    found += inputs(spec)
    found += _tracking(spec["env"])
    return [path for path in dict.fromkeys(_both(dict.fromkeys(found))) if path != "/"]


def inputs(spec: Mapping[str, Any]) -> list[str]:
    """Local paths of the input artifacts; their content is in the key already."""
    found: list[str] = []
    for entry in section(spec, "executor_input", "inputs", "artifacts").values():
        for artifact in objects(entry, "artifacts"):
            uri = str(artifact.get("uri") or "")
            found.append(unquote(urlsplit(uri).path) if uri.startswith("file://") else uri)
    return found


def _tracking(env: Mapping[str, str]) -> Iterable[str]:
    """Folders that variables of tracking and of the platform name."""
    for name, value in env.items():
        if not name.startswith(("MLFLOW_", "MLPLATFORM_")):
            continue
        if value.startswith("sqlite:////"):
            yield os.path.dirname(value[len("sqlite:///") :])
        elif value.startswith("file:///"):
            yield unquote(urlsplit(value).path)
        elif value.startswith("/") and len(value) > 1:
            yield value


class Ignored:
    """Answers whether a path counts. ``text``: all prefixes, one a line."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._fixed = fixed(os.path.expanduser("~"))
        mine = own(spec)
        self._exact = frozenset(mine)
        self._above = frozenset(parent for path in mine for parent in _parents(path))
        self.text = "\n".join((*mine, self._fixed.text))

    def covers(self, path: str) -> bool:
        """True for an ignored path and everything below one."""
        if "/__pycache__/" in path or path.endswith(("/__pycache__", "/.ipynb_checkpoints")):
            return True
        return any(place in self._exact or place in self._fixed.exact for place in (path, *_parents(path)))

    def above(self, path: str) -> bool:
        """True for folders on the way to an ignored path: they are there because it is."""
        return path in self._above or path in self._fixed.above


def _parents(path: str) -> list[str]:
    found: list[str] = []
    while True:
        path = os.path.dirname(path)
        if path in ("/", ""):
            return [*found, "/"]
        found.append(path)
