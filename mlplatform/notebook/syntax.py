"""IPython's syntax as plain Python, for reading only: magics, shell commands, help.

What runs is the cell as it stands; this makes of it a text that Python can parse and that mentions the names that
the cell mentions. A magic whose effect on names is not known may do anything to them.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, Final, cast


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


#: What stands for a magic or a shell command in the text; calling it takes the names it mentions.
STAND_IN: Final = "__magic__"

#: Line magics that touch no variable.
_HARMLESS: Final = words(
    """
    matplotlib config load_ext reload_ext unload_ext autoreload cd pwd ls ll mkdir rm rmdir cp mv cat env set_env
    pip conda mamba uv alias unalias bookmark dirs pushd popd dhist history hist lsmagic magic quickref logstart logstop
    logon logoff logstate precision doctest_mode xmode colors automagic autocall pdb pycat page pinfo pinfo2 pdoc pdef
    psource pfile psearch pprint sx sc system sh notebook gui connect_info qtconsole man more less tb rehashx
    autosave clear cls killbgscripts store_nothing mlplatform tensorboard watermark code_wrap subshell
    """
)
#: Line and cell magics that run the Python behind them, and their options that take a word.
_PYTHON: Final = {
    "time": "",
    "timeit": "nrtp",
    "prun": "lsTD",
    "lprun": "fmTDuso",
    "mprun": "fT",
    "memit": "rtio",
    "debug": "b",
    "capture": "",
    "python_code": "",
    "snakeviz": "t",
    "scalene": "",
    "pyinstrument": "",
}
#: Cell magics whose body is not Python of this kernel.
_FOREIGN: Final = words(
    """
    writefile file bash sh script perl ruby html HTML javascript js latex markdown svg SVG pypy python python2 python3
    cmd system sx ! sql cython R julia
    """
)
_LINE: Final = re.compile(r"^(?P<indent>\s*)(?P<mark>%{1,2}|!{1,2})(?P<rest>.*)$")
_ASSIGNED: Final = re.compile(r"^(?P<target>\s*[A-Za-z_][\w.,\s\[\]'\"*()]*?=)\s*(?P<mark>[%!])(?P<rest>[^=].*)$")
_HELP: Final = re.compile(r"^(?P<indent>\s*)(?:\?{1,2}\s*(?P<after>[%\w.*]+)|(?P<before>[%\w.*\[\]'\"]+)\?{1,2})\s*$")
_BRACES: Final = re.compile(r"\{([^{}]+)\}")
_DOLLARS: Final = re.compile(r"\$\$?([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class PythonText:
    """``tree``: the cell as Python; None if it cannot be read as that. ``whole``: why it may touch any name, or "".
    ``binds``: names that a magic binds. ``foreign``: another language, or a file's text."""

    tree: ast.Module | None
    whole: str = ""
    binds: tuple[str, ...] = ()
    foreign: bool = False
    magics: tuple[str, ...] = ()


def read_cell(source: str) -> PythonText:
    """A code cell as Python. Never raises."""
    reading = _Reading()
    tree = reading.cell(source)
    return PythonText(tree, reading.whole, tuple(reading.binds), reading.foreign, tuple(reading.magics))


class _Reading:
    def __init__(self) -> None:
        self.whole = ""
        self.binds: list[str] = []
        self.foreign = False
        self.magics: list[str] = []

    def cell(self, source: str) -> ast.Module | None:
        stripped = source.lstrip()
        if stripped.startswith("%%"):
            return self._cell_magic(stripped)
        tree = parse(source)
        if tree is None:
            tree = parse(self._lines(source))
        if tree is None:
            tree = self._by_ipython(source)
        if tree is None:
            self.whole = self.whole or "it cannot be read as Python"
        return tree

    def _cell_magic(self, source: str) -> ast.Module | None:
        first, _, body = source.partition("\n")
        name, _, arguments = first[2:].strip().partition(" ")
        self.magics.append(name)
        if name in _PYTHON:
            words = arguments.split()
            if name == "capture":
                self.binds += [word for word in words if word.isidentifier()][:1]
                return self.cell(body)
            rest = _without_options(arguments, _PYTHON[name])
            return self.cell(f"{rest}\n{body}" if rest else body)
        if name == "script" or name in _FOREIGN:
            self.foreign = True
            self.binds += re.findall(r"--(?:out|err|proc)[ =](\w+)", arguments)
            mentioned = body if name not in ("writefile", "file") else ""
            return parse(self._call("", f"{arguments}\n{mentioned}"))
        self.whole = f"what %%{name} does to variables is not known"
        return parse(self._call("", arguments)) if not body else self.cell(body)

    def _lines(self, source: str) -> str:
        made: list[str] = []
        lines = source.split("\n")
        while lines:
            line = lines.pop(0)
            if match := _LINE.match(line) or _ASSIGNED.match(line):
                rest = match["rest"]
                while rest.endswith("\\") and lines:
                    rest = rest[:-1] + " " + lines.pop(0).strip()
                lead = match.groupdict().get("indent")
                made.append(self._line(match["mark"], rest, match["target"] if lead is None else lead))
            elif match := _HELP.match(line):
                made.append(f"{match['indent']}pass")
            else:
                made.append(line)
        return "\n".join(made)

    def _line(self, mark: str, rest: str, lead: str) -> str:
        """One line magic or shell command; ``lead`` is its indentation, or the assignment before it."""
        if mark.startswith("!"):
            return self._call(lead, rest)
        name, _, arguments = rest.lstrip("%").strip().partition(" ")
        self.magics.append(name)
        if name in _PYTHON:
            code = _without_options(arguments, _PYTHON[name]).strip()
            if not code:
                return self._call(lead, "")
            if parse(code) is not None:
                return f"{lead}{code}"
        if name not in _HARMLESS and name not in _PYTHON:
            self.whole = f"what %{name} does to variables is not known"
        return self._call(lead, arguments)

    def _call(self, lead: str, text: str) -> str:
        """A call that mentions what ``$name`` and ``{expression}`` mention."""
        found: list[str] = list(_DOLLARS.findall(text))
        for expression in _BRACES.findall(text):
            code = expression.partition(":")[0] if parse(f"({expression})") is None else expression
            if parse(f"({code})") is not None:
                found.append(code)
        return f"{lead}{STAND_IN}({', '.join(f'({code})' for code in found)})"

    def _by_ipython(self, source: str) -> ast.Module | None:
        """What our own reading does not understand, as IPython itself transforms it."""
        try:
            from IPython.core import inputtransformer2
        except ImportError:
            return None
        module: Any = inputtransformer2
        try:
            text = cast(str, module.TransformerManager().transform_cell(source))
        except (SyntaxError, ValueError):
            return None
        tree = parse(text)
        if tree is not None:
            self.whole = self.whole or "it holds IPython syntax whose effect on variables is not known"
        return tree


def parse(source: str) -> ast.Module | None:
    """Python's own reading; None for what is not Python."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes and the like: the kernel tells them
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _without_options(text: str, with_value: str) -> str:
    """A magic's arguments without its options; ``with_value``: letters of those that take a word."""
    words = text.strip()
    while match := re.match(r"-(\w)(\S*)\s*", words):
        words = words[match.end() :]
        if match[1] in with_value and not match[2]:
            words = words.partition(" ")[2].lstrip()
    while match := re.match(r"--[\w-]+(?:=\S+)?\s*", words):
        words = words[match.end() :]
    return words
