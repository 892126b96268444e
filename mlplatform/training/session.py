"""The calls of :mod:`mlplatform.training`, and what this process knows between them."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from . import artifacts, checkpoints, tracking
from .checkpoints import Checkpoint
from .reporting import Reporter
from .world import Rank, world

#: "Saved, run me again" (sysexits' EX_TEMPFAIL).
SAVED = 75
#: Makes every thread's stack appear on stderr.
DUMP_SIGNAL = getattr(signal, "SIGUSR2", None)


class _Session:
    def __init__(self) -> None:
        self.me: Rank | None = None
        self.reporter: Reporter | None = None
        self.stop = threading.Event()
        self.listening = False
        self.swept = False
        self.tracked = False
        self.newest: Checkpoint | None = None
        self.total: int | None = None


_session = _Session()


def init() -> Rank:
    """Say that this is a rank, and learn which. Calling it again changes nothing.

    From now on SIGTERM means "save, then end" (:func:`stopping`); whoever sent it kills what does not end in time. A
    stuck process shows its stacks on stderr when the platform asks. With framework jax and more than one process,
    ``jax.distributed.initialize`` is called, as jax itself does not read who it is from the environment.
    """
    me = _me()
    if not _session.listening:
        _session.listening = True
        _listen()
        _track()
        _join_jax(me)
    _listen_again()
    return me


def stopping() -> bool:
    """Whether the platform asked this process to save and end."""
    _listen_again()
    return _session.stop.is_set()


def due(step: int, every: int) -> bool:
    """Whether ``step`` is one to save at: each ``every``-th, and the next one when the process is to end.

    Raises:
        ValueError: ``every`` is not positive.
    """
    if every <= 0:
        raise ValueError("every must be at least 1")
    return stopping() or (step + 1) % every == 0


@contextlib.contextmanager
def checkpoint(step: int, *, sharded: bool = False) -> Generator[Path]:
    """Save a checkpoint: ``with checkpoint(step) as folder:`` write files into ``folder``.

    It is in its place only when the block ended without an error and all of it is on the disk; older ones are removed
    then, but for the newest few (``checkpoint.keep`` of the job, else 3). Where the process was asked to end, it ends
    here, with exit code 75.

    Args:
        step: the last step that the checkpoint holds, from 0.
        sharded: every process saves a part of its own; the checkpoint is whole when all of them are there.

    Raises:
        CheckpointError: it could not be written (the disk is full: an OSError); the one before it stays.
        SystemExit: it is saved, and the process was asked to end.
    """
    me = _me()
    root = me.checkpoints
    part = (me.rank, me.world_size) if sharded and not me.apart else None
    writing: checkpoints.Writing | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        if me.attempt and not _session.swept:
            _session.swept = True
            checkpoints.sweep(root, me.attempt)
        writing = checkpoints.Writing(root, int(step), part, f"a{me.attempt}-{me.group or 'main'}-{me.rank}")
        yield writing.folder
        place = writing.finish()
    except BaseException as error:
        if writing is not None:
            writing.give_up()
        if isinstance(error, OSError) and checkpoints.CheckpointError.fits(error):
            raise checkpoints.CheckpointError.of(error, int(step), root) from error
        raise
    whole = checkpoints.read(place.parent if part is not None else place)
    if whole is not None:
        checkpoints.prune(root, whole.step, me.keep)
        if me.first:
            _remember(whole)
        saved(whole.step, str(whole.path))
    if stopping():
        _reporter().flush(15.0)  # a checkpoint that nobody hears of is lost
        sys.exit(SAVED)


def saved(step: int, uri: str = "") -> None:
    """Tell the platform of a checkpoint that was saved by other means (to an object store). ``uri``: where it is."""
    _reporter().saved(int(step), uri)


def resume_from() -> Checkpoint | None:
    """The newest checkpoint that is whole, of this job's earlier attempts; None: begin at the beginning.

    Outside of a job there is none, unless ``MLP_CHECKPOINT_DIR`` names the folder. Where each replica keeps its own
    checkpoints, the newest step that all of them have is taken.
    """
    me = _me()
    if not me.resume or (me.apart and me.attempt > 1 and me.resume_step is None):
        return None  # of what each kept for itself, nothing is there that all have
    found = checkpoints.newest(me.checkpoints, me.resume_step if me.apart else None)
    if found is not None and me.first:
        _remember(found)
    return found


def report(step: int, metrics: Mapping[str, Any] | None = None, *, total: int | None = None, **more: Any) -> None:
    """Tell how far training is. Cheap enough for every step: a thread sends the newest report at most once a second,
    and nothing that goes wrong with it is raised here.

    Args:
        step: the step that was just done, from 0.
        metrics: figures by name (``{"loss": 0.1}``); also as keywords. Rank 0's go to MLflow too, every one of them.
        total: how many steps there will be; remembered.
    """
    if total is not None:
        _session.total = int(total)
    _listen_again()
    figures = {str(name): value for name, value in {**(metrics or {}), **more}.items()}
    _reporter().report(int(step), figures, _session.total)


# ---------------------------------------------------------------------- inside
def _me() -> Rank:
    if _session.me is None:
        _session.me = world()
    return _session.me


def _remember(whole: Checkpoint) -> None:
    """At the end of the process, the newest one is left with its MLflow run."""
    if _session.newest is None:
        atexit.register(_leave)
    _session.newest = whole


def _leave() -> None:
    if _session.newest is not None and not stopping():
        artifacts.keep(_session.newest)


def _reporter() -> Reporter:
    if _session.reporter is None:
        _track()
        _session.reporter = Reporter(_me(), os.environ, _session.stop)
    return _session.reporter


def _track() -> None:
    """The environment says where to log from now on, to MLflow itself as well."""
    if not _session.tracked:
        _session.tracked = True
        tracking.join()


def _listen() -> None:
    with contextlib.suppress(Exception):  # stderr may be no file (a notebook)
        faulthandler.enable()
        if DUMP_SIGNAL is not None:
            faulthandler.register(DUMP_SIGNAL, all_threads=True, chain=False)
    sys.excepthook = _telling(sys.excepthook, os.environ.get("MLP_LAST_WORD", ""))
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)


def _telling(before: Any, path: str) -> Any:
    """An excepthook that leaves the error where whoever looks after the rank reads it: in a pod, the end of a log may
    be what the framework's launcher says."""
    if not path:
        return before

    def told(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        before(kind, error, trace)
        module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(_masked(f"{module}{kind.__qualname__}: {error}")[:1024])

    return told


def _listen_again() -> None:
    """``ray.init`` makes SIGTERM end the driver at once: with this, it is a wish to save again."""
    if not _session.listening or "ray" not in sys.modules:
        return
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM)
        if str(getattr(handler, "__module__", "")).partition(".")[0] == "ray":
            signal.signal(signal.SIGTERM, _terminated)


def _masked(text: str) -> str:
    """Without the values of variables that come from secrets: what is left there is in the job's status."""
    for name in os.environ.get("MLP_SECRET_NAMES", "").split(","):
        value = os.environ.get(name, "").strip()
        if len(value) >= 4:
            text = text.replace(value, "***")
    return text


def _terminated(number: int, frame: Any) -> None:
    # A second one means no more than the first: torchrun and mpirun hand on to their processes what these got as well.
    _session.stop.set()


def _join_jax(me: Rank) -> None:
    address, count = os.environ.get("JAX_COORDINATOR_ADDRESS"), os.environ.get("JAX_NUM_PROCESSES", "")
    if not address or not count.isdecimal() or int(count) < 2:
        return
    import importlib

    jax: Any = importlib.import_module("jax")
    if jax.config.jax_platforms in (None, "", "cpu"):
        with contextlib.suppress(AttributeError):
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, int(count), int(os.environ.get("JAX_PROCESS_ID", str(me.replica))))
