"""Large memory of snapshots: written once, read back into arrays of their own, never taken if it is not what it was."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlplatform.launcher.notebook import parts
from mlplatform.launcher.notebook.comparing import look
from mlplatform.launcher.notebook.keeping import keep, load

#: Numbers (of eight bytes) that are more than one piece and no whole number of them.
MANY = 2 * parts.SIZE // 8 + 1001


def kept(library: Path, value: Any, name: str = "one") -> Path:
    path = library / "groups" / "ab" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        size = keep({"value": value}, {}, file, frozenset())
    total, digests = parts.named_in(str(path))
    assert total == size
    assert all(os.path.exists(parts.path_of(str(library / "parts"), digest)) for digest in digests)
    return path


def pieces(library: Path) -> set[Path]:
    return set((library / "parts").glob("*/*"))


def test_an_array_comes_back_as_its_own(tmp_path: Path) -> None:
    rows = np.arange(MANY, dtype="f8")
    table = np.asfortranarray(np.arange(MANY * 2, dtype="i8").reshape(2, MANY))
    still = np.arange(MANY, dtype="i8")
    still.flags.writeable = False
    for index, value in enumerate((rows, table, still, rows.view("M8[s]"), rows[::2].copy())):
        found = load(str(kept(tmp_path, value, str(index))))["value"]
        assert (found.dtype, found.shape, found.flags.owndata) == (value.dtype, value.shape, True)
        assert found.flags.writeable == value.flags.writeable
        assert found.flags.f_contiguous == value.flags.f_contiguous
        assert np.array_equal(found.view("i8"), value.view("i8"))


def test_what_did_not_change_is_written_once(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": np.arange(MANY, dtype="f8"), "b": np.zeros(MANY, dtype="f4")})
    kept(tmp_path, table)
    before = pieces(tmp_path)
    table["c"] = np.arange(MANY) % 7
    found = load(str(kept(tmp_path, table, "two")))["value"]
    assert before < pieces(tmp_path)
    assert len(pieces(tmp_path) - before) == parts.count(MANY * 8)
    pd.testing.assert_frame_equal(found, table)


def test_a_piece_that_is_not_what_it_was_is_no_value(tmp_path: Path) -> None:
    path = kept(tmp_path, np.arange(MANY, dtype="f8"))
    one = sorted(pieces(tmp_path))[0]
    data = bytearray(one.read_bytes())
    data[100] ^= 1
    one.write_bytes(data)
    with pytest.raises(ValueError, match="does not hold what was written"):
        load(str(path))
    assert not one.exists(), "whoever keeps such a piece would find it there"
    one.write_bytes(data[:-5])
    with pytest.raises(ValueError, match="does not hold what was written"):
        load(str(path))
    with pytest.raises(FileNotFoundError):
        parts.in_use_again(str(path))


def test_what_is_in_use_again_is_young(tmp_path: Path) -> None:
    path = kept(tmp_path, np.arange(MANY, dtype="f8"))
    for one in (path, *pieces(tmp_path)):
        os.utime(one, (1e9, 1e9))
    parts.in_use_again(str(path))
    assert all(one.stat().st_mtime > 1.5e9 for one in (path, *pieces(tmp_path)))


def digested(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of memories as they are digested from here on."""
    sizes: list[int] = []
    plain = parts._digested

    def counting(raw: Any) -> list[bytes]:
        sizes.append(raw.nbytes)
        return plain(raw)

    monkeypatch.setattr(parts, "_digested", counting)
    return sizes


def test_one_boundary_digests_a_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = digested(monkeypatch)
    space: dict[str, Any] = {"value": np.arange(MANY, dtype="f8"), "every": np.ones((3000, 2000))[:, ::2]}
    space["both"] = [space["value"]]
    known = parts.Digests()
    seen = [look(value, space, known=known).digest for value in space.values()]
    path = tmp_path / "groups" / "ab" / "one"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        keep(space, space, file, frozenset(), known)
    assert sizes.count(MANY * 8) == 1
    assert sizes.count(24_000_000) == 2, "a copy's place in memory says nothing about the next copy"
    sizes.clear()
    known.forget()
    found = load(str(path), known)
    assert [look(value, space, known=known).digest for value in found.values()] == seen
    assert sizes.count(MANY * 8) == 0, "it was compared with its digests when it was read"
    found["value"][5] = -1
    known.forget()
    assert look(found["value"], space, known=known).digest != seen[0]


def test_what_changes_before_it_is_written_is_no_value(tmp_path: Path) -> None:
    value, known = np.arange(MANY, dtype="f8"), parts.Digests()
    look(value, {}, known=known)
    value[7] = -1  # a thread of the notebook
    path = tmp_path / "groups" / "ab" / "one"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        keep({"value": value}, {}, file, frozenset(), known)
    with pytest.raises(ValueError, match="does not hold what was written"):
        load(str(path))


def test_the_digest_tells_any_change(tmp_path: Path) -> None:
    value = np.arange(MANY, dtype="f8")
    first = look(value, {}).digest
    for index in (0, parts.SIZE // 8, MANY - 1):
        value[index] += 1
        assert look(value, {}).digest != first
        value[index] -= 1
    assert look(value, {}).digest == first


def test_threads_of_the_notebook_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_processors", lambda: 3)
    names: list[str] = []
    parts.Digests().of(memoryview(np.zeros(MANY).view("u1")), None)
    threading.Thread(target=lambda: names.append(threading.current_thread().name)).start()
    before = int(names[0].removeprefix("Thread-").split(" ")[0])
    parts.Digests().of(memoryview(np.zeros(MANY).view("u1")), None)
    threading.Thread(target=lambda: names.append(threading.current_thread().name)).start()
    assert int(names[1].removeprefix("Thread-").split(" ")[0]) == before + 1
