# pyright: basic
"""A shell in which cells run as they run in a kernel: same class name, same magics, same display hooks and tracebacks.

There is no kernel behind it. Libraries recognise a notebook by the shell's class and configuration, so these are as
ipykernel has them; what a kernel would send to its client is gathered by :class:`~.collect.Outputs`.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import datetime
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .collect import Outputs
from .guard import tried
from .streams import Streams

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Failed:
    """A cell ended with an exception. ``text``: its traceback without colours."""

    ename: str
    evalue: str
    text: str


def plain(text: str) -> str:
    """Without terminal colours."""
    return _ANSI.sub("", text)


class Kernel:
    """What notebooks use of ``get_ipython().kernel``: sending display messages by hand."""

    def __init__(self, outputs: Outputs) -> None:
        self.iopub_socket = None
        self.session = self
        self._outputs = outputs

    def send(self, _socket: Any, message: Any, content: Any = None, **_rest: Any) -> None:
        """``session.send`` of display messages; others have no reader here."""
        content = content or {}
        data, metadata = jsonable(content.get("data") or {}), jsonable(content.get("metadata") or {})
        display_id = (content.get("transient") or {}).get("display_id")
        if message == "update_display_data":
            self._outputs.update(data, metadata, str(display_id))
        elif message == "display_data":
            self._outputs.display(data, metadata, display_id)
        elif message == "execute_result":
            self._outputs.result(data, metadata, content.get("execution_count") or 0, display_id)
        elif message == "stream":
            self._outputs.stream(str(content.get("name")), str(content.get("text")))
        elif message == "clear_output":
            self._outputs.clear(bool(content.get("wait")))


def make_shell(outputs: Outputs, place: int) -> Any:
    """The one shell of this process. ``place`` stands in the names of cells where a kernel has its process's number.
    Raises ImportError where IPython is missing."""
    from IPython.core.compilerop import CachingCompiler
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.error import StdinNotImplementedError
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets import Type
    from traitlets.config import Config

    class Compiler(CachingCompiler):
        """Cells have the file names a kernel gives them."""

        def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
            name = "%d.py" % zlib.crc32(raw_code.encode("utf-8", "surrogatepass"))
            return os.path.join(tempfile.gettempdir(), "ipykernel_%d" % place, name)

    class Publisher(DisplayPublisher):
        def publish(self, data: Any, metadata: Any = None, **kwargs: Any) -> None:
            transient = kwargs.get("transient") or {}
            bundle, told = jsonable(data), jsonable(metadata or {})
            if kwargs.get("update"):
                outputs.update(bundle, told, str(transient.get("display_id")))
            else:
                outputs.display(bundle, told, transient.get("display_id"))

        def clear_output(self, wait: bool = False) -> None:
            outputs.clear(wait)

    class Hook(DisplayHook):
        _bundle: Any = None

        def start_displayhook(self) -> None:
            self._bundle = None

        def write_output_prompt(self) -> None:
            return None

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            self._bundle = (jsonable(format_dict), jsonable(md_dict or {}))

        def finish_displayhook(self) -> None:
            if self._bundle and self._bundle[0]:
                outputs.result(self._bundle[0], self._bundle[1], self.prompt_count)
            self._bundle = None

    def no_input(*_words: Any, **_options: Any) -> str:
        raise StdinNotImplementedError("raw_input was called, but this frontend does not support input requests.")

    class ZMQInteractiveShell(InteractiveShell):
        """Named as libraries that ask "am I in a notebook?" expect it."""

        displayhook_class = Type(Hook)
        display_pub_class = Type(Publisher)
        compiler_class = Type(Compiler)
        kernel = Kernel(outputs)
        parent_header: Any = {}

        def enable_gui(self, gui: Any = None) -> None:
            return None

        def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
            self._last_stb = list(stb)
            outputs.error(str(etype.__name__), _text_of(evalue), list(stb))

    config = Config()
    config.HistoryManager.enabled = False
    config.IPKernelApp.tqdm = "a notebook"
    config.InteractiveShell.autoindent = False
    shell = ZMQInteractiveShell.instance(config=config)
    extensions: Any = shell.extension_manager
    extensions.load_extension("storemagic")  # as a kernel does
    shell.colors = shell.colors if shell.colors.lower() != "nocolor" else "Neutral"
    builtins.input = no_input
    return shell


def set_history(shell: Any, earlier: Iterable[tuple[int, str]]) -> None:
    """``In``, ``_i`` and their like as they are where all ``earlier`` cells (their numbers and sources) were entered
    here, whoever ran them. The names of what they gave are there; whether ``_`` is still one of them and not the
    user's own, the display hook tells by what it thinks came last."""
    given = sorted((int(name[1:]), name) for name in shell.user_ns if re.fullmatch(r"_\d+", name))
    hook = shell.displayhook
    last = ["", "", "", *(shell.user_ns[name] for _, name in given)][-3:]
    for place, name in enumerate(("___", "__", "_")):
        value = last[place]
        found = shell.user_ns.get(name)
        setattr(hook, name, found if _equals(found, value) else value)
    history = shell.history_manager
    entered = [(number, source.rstrip("\n")) for number, source in earlier]
    if list(history.input_hist_raw[1:]) == [source for _, source in entered]:
        return
    for kept in (history.input_hist_raw, history.input_hist_parsed):
        del kept[1:]
    for number, source in entered:
        parsed, problem = tried(shell.transform_cell, source)
        history.input_hist_raw.append(source)
        history.input_hist_parsed.append(source if problem is not None else parsed.rstrip("\n"))
        shell.user_ns["_i%d" % number] = source
    sources = [*[""] * 4, *(source for _, source in entered)]
    history._iii, history._ii, history._i, history._i00 = sources[-4:]


def _equals(one: Any, other: Any) -> bool:
    """Constants are kept name by name: the hook, which asks whether they are the same object, may take either."""
    plain = type(one) is type(other) and isinstance(one, (str, bytes, int, float, complex, tuple, frozenset))
    return plain and repr(one) == repr(other)


def kernel_environment() -> None:
    """The variables a kernel sets for itself."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    os.environ.update(TERM="xterm-color", CLICOLOR="1", FORCE_COLOR="1", CLICOLOR_FORCE="1")
    os.environ.update(PAGER="cat", GIT_PAGER="cat")


def _text_of(value: Any) -> str:
    text, problem = tried(str, value)
    return text if problem is None else "<its text cannot be had>"


def jsonable(value: Any) -> Any:
    """A display bundle as JSON: bytes in base64, times as texts, whatever else as its ``repr``."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and value not in (float("inf"), float("-inf")) else repr(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [jsonable(item) for item in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return repr(value)


class Runner:
    """Runs cells one after the other on one event loop, in one context (decimal's, numpy's and others' settings live
    in context variables, which would be lost with a task of its own for each cell)."""

    def __init__(self, shell: Any, outputs: Outputs, streams: Streams) -> None:
        self.shell = shell
        self._outputs = outputs
        self._streams = streams
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._queue: asyncio.Queue[tuple[Callable[[], Any], asyncio.Future[Any]]] = asyncio.Queue()
        worker: Any = self.loop.create_task(self._work())
        worker._mlplatform = True

    async def _work(self) -> None:
        while True:
            job, answer = await self._queue.get()
            try:
                found = job()
                answer.set_result(await found if asyncio.iscoroutine(found) else found)
            except BaseException as problem:  # noqa: BLE001 - handed to whoever waits for the answer
                answer.set_exception(problem if isinstance(problem, Exception) else RuntimeError(repr(problem)))

    def call(self, job: Callable[[], Any]) -> Any:
        """Run something where cells run, with their context."""
        answer = self.loop.create_future()
        self._queue.put_nowait((job, answer))
        return self.loop.run_until_complete(answer)

    def run(self, source: str) -> tuple[list[dict[str, Any]], Optional[Failed]]:
        """One cell: its outputs, and how it failed if it did."""
        self._outputs.begin_cell()
        self.shell._last_stb = []
        result = self.call(lambda: self._run(source))
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue
        self._streams.drain()
        failure = result.error_before_exec or result.error_in_exec
        if failure is None:
            return self._outputs.end_cell(), None
        text = plain("\n".join(self.shell._last_stb))
        return self._outputs.end_cell(), Failed(type(failure).__name__, _text_of(failure), text)

    async def _run(self, source: str) -> Any:
        """As ipykernel does it: what awaits runs in a task of its own, everything else right here."""
        shell = self.shell
        transformed, problem = source, None
        found, failed = tried(shell.transform_cell, source)
        if failed is None:
            transformed = found
        else:
            problem = (type(failed), failed, failed.__traceback__)  # shown as the cell's own error
        if not shell.should_run_async(source, transformed_cell=transformed, preprocessing_exc_tuple=problem):
            return shell.run_cell(source, store_history=True)
        result = None
        try:
            coroutine = shell.run_cell_async(
                source, store_history=True, transformed_cell=transformed, preprocessing_exc_tuple=problem
            )
            result = await asyncio.ensure_future(coroutine)
        finally:
            shell.events.trigger("post_execute")
            shell.events.trigger("post_run_cell", result)
        return result
