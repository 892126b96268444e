# pyright: basic
"""Magics in a cell, in the form in which the shell hands them on: what they read and set."""

from __future__ import annotations

import ast
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence

from .codenames import identifiers
from .flow import Flow
from .guard import tried

#: Line magics that touch no name of the namespace.
_PLAIN = frozenset(
    (
        "matplotlib", "config", "precision", "load_ext", "reload_ext", "unload_ext", "autoreload", "pip", "conda",
        "mamba", "uv", "cd", "pwd", "ls", "ll", "mkdir", "cat", "lsmagic", "magic", "env", "set_env", "gui", "colors",
        "xmode", "doctest_mode", "pinfo", "pinfo2", "pdoc", "psource", "pfile", "pycat", "alias_magic", "autosave",
        "connect_info", "cp", "mv", "rm", "rmdir", "man", "less", "more", "mlplatform", "watermark", "dirs", "pushd",
        "popd",
    )
)  # fmt: skip
#: Magics whose text is Python that runs in the namespace.
_CODE = frozenset(("time", "timeit", "prun", "capture", "memit", "mprun", "lprun"))
#: Cell magics whose body is not Python.
_FOREIGN = frozenset(
    (
        "html", "HTML", "javascript", "js", "latex", "markdown", "svg", "SVG", "writefile", "file", "bash", "sh",
        "script", "perl", "ruby", "system", "sx", "!", "cmd", "python", "python2", "python3", "pypy", "mermaid",
    )
)  # fmt: skip


class MagicReader:
    """The part of a reader of cells that knows magics. ``magic`` is False for one it does not know: any name may be
    read and set by it."""

    _flow: Flow
    _transform: Callable[[str], str]

    @abstractmethod
    def _read(self, name: str) -> None: ...
    @abstractmethod
    def body(self, statements: Sequence[ast.stmt]) -> None: ...

    def magic(self, node: ast.Call) -> bool:
        """``get_ipython().run_line_magic(...)`` and its like, as the shell writes magics."""
        function = node.func
        if not (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Call)
            and isinstance(function.value.func, ast.Name)
            and function.value.func.id == "get_ipython"
        ):
            return False
        texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if len(texts) != len(node.args) or node.keywords:
            return False
        if function.attr in ("system", "getoutput") and len(texts) == 1:
            self._shell_text(texts[0])
            self._flow.sets.add("_exit_code")
            return True
        if function.attr == "run_line_magic" and len(texts) == 2:
            return self._line_magic(texts[0], texts[1])
        if function.attr == "run_cell_magic" and len(texts) == 3:
            return self._cell_magic(*texts)
        return False

    def _line_magic(self, name: str, rest: str) -> bool:
        if name == "cd" or name in _PLAIN:
            self._shell_text(rest)
            self._flow.words.add("%" + name)
            return True
        if name in _CODE:
            return self._code(_without_options(rest))
        return name == "run" and self._run(rest)

    def _run(self, rest: str) -> bool:
        """``%run file.py``: its names are set, and it sees none of the notebook's unless asked to."""
        words = rest.split()
        if not words or any(word.startswith("-") for word in words) or words[0].endswith(".ipynb"):
            return False
        self._shell_text(rest)
        return True

    def _cell_magic(self, name: str, line: str, body: str) -> bool:
        self._shell_text(line)
        if name in _FOREIGN:
            if name in ("!", "sx", "system"):
                self._shell_text(body)
            self._flow.words.add("%" + name)
            for word in re.findall(r"--(?:out|err|proc|bg)\s+(\S+)", line):
                self._flow.sets.add(word)
            return True
        if name in _CODE:
            if name == "capture":
                for word in line.split():
                    if not word.startswith("-"):
                        self._flow.sets.add(word)
                return self._code("", body)
            return self._code(_without_options(line), body)
        return False

    def _code(self, *sources: str) -> bool:
        for source in sources:
            tree, problem = tried(lambda source=source: ast.parse(self._transform(source)))
            if problem is not None:
                return False
            before = set(self._flow.surely)
            self.body(tree.body)
            self._flow.surely = before
        return True

    def _shell_text(self, text: str) -> None:
        """``{name}`` and ``$name`` in what goes to a shell are the notebook's."""
        for found in re.findall(r"\{([^{}]*)\}|\$(\w+)", text):
            for name in identifiers(found[0] or found[1]):
                self._read(name)


def _without_options(text: str) -> str:
    """The statement after the options of ``%timeit`` and its like."""
    words = text.split(" ")
    while words and (words[0].startswith("-") or not words[0]):
        option = words.pop(0)
        if option in ("-n", "-r", "-p", "-s", "-l", "-f", "-T", "-D", "-m", "-i") and words:
            words.pop(0)
    return " ".join(words)
