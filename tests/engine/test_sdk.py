"""The SDK end to end: real services, real tasks, the objects that people really pass."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

import mlplatform as ml
from mlplatform import dsl
from mlplatform.core.errors import InvalidInput, InvalidParameters, TaskFailed, Unsupported
from mlplatform.sdk.testing import LocalPlatform
from tests.support.home import platform_in


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    with platform_in(tmp_path_factory.mktemp("home")) as made:
        yield made


# ------------------------------------------------------------------ what people write
RATE = 3


def scaled(x: float) -> float:
    return x * RATE


@dataclasses.dataclass
class Config:
    depth: int
    name: str = "tree"


class Settings(BaseModel):
    alpha: float
    tags: list[str] = []


class Split(NamedTuple):
    train: pd.DataFrame
    test: pd.DataFrame
    rows: int


@ml.component
def table(rows: int) -> pd.DataFrame:
    frame = pd.DataFrame({"x": np.arange(rows), "word": ["a", None] * (rows // 2)})
    frame.index = pd.date_range("2024-01-01", periods=rows, freq="D", name="day")
    return frame


@ml.component
def split(frame: pd.DataFrame, share: float = 0.5) -> Split:
    cut = int(len(frame) * share)
    return Split(frame.iloc[:cut], frame.iloc[cut:], len(frame))


@ml.component
def mean(frame: pd.DataFrame) -> float:
    return scaled(frame["x"].mean())


@ml.component
def add(a: float, b: float) -> float:
    return a + b


@ml.pipeline
def averages(rows: int = 10) -> float:
    """Two means."""
    parts = split(table(rows), share=0.2)
    return add(mean(parts.train), mean(parts.test))


def test_a_pipeline_gives_what_plain_python_gives(platform: LocalPlatform) -> None:
    assert averages(10) == pytest.approx(3 * 0.5 + 3 * 5.5)
    run = platform.run(averages, rows=10)
    assert run.output == pytest.approx(averages(10))
    assert run.task("split").outputs["rows"] == 10
    frame = run.task("table").outputs["Output"].load()
    pd.testing.assert_frame_equal(frame, table(10))
    assert frame.index.freqstr == "D"


@ml.component
def describe(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"


@ml.component
def config(depth: int) -> Config:
    return Config(depth)


@ml.component
def deeper(given: Config) -> Config:
    assert isinstance(given, Config)
    return Config(given.depth + 1, given.name)


@ml.component
def settings() -> Settings:
    return Settings(alpha=0.5, tags=["a"])


@ml.component
def alpha(given: Settings) -> float:
    assert isinstance(given, Settings)
    return given.alpha


@ml.component
def array() -> np.ndarray:
    return np.arange(6, dtype="int16").reshape(2, 3)


@ml.component
def model(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, seed])


@ml.component
def predict(fitted: Any) -> list[int]:
    return fitted.predict([[0.0], [3.0]])


@ml.component
def written(text: str) -> Path:
    Path("out.txt").write_text(text)
    return Path("out.txt")


@ml.component
def read(file: Path) -> str:
    return file.name + ":" + file.read_text()


@ml.component
def several() -> tuple[int, np.ndarray]:
    return 4, np.ones(3)


@ml.component
def both(number: int, values: np.ndarray) -> float:
    return number + float(values.sum())


@ml.component
def odd() -> set[int]:
    return {1, 2}


@ml.pipeline
def objects() -> dict[str, Any]:
    number, ones = several()
    return {
        "config": deeper(config(2)),
        "alpha": alpha(settings()),
        "array": describe(array()),
        "predicted": predict(model(1)),
        "file": read(written("hello")),
        "parts": both(number, ones),
        "set": describe(odd()),
        "unseen": describe(config(7)),
    }


def test_objects_travel_in_open_formats(
    platform: LocalPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = platform.run(objects)
    outputs = run.outputs
    assert outputs["alpha"] == 0.5
    assert outputs["array"] == "numpy.ndarray"
    assert outputs["predicted"] == [0, 1]
    assert outputs["file"] == "out.txt:hello"
    assert outputs["parts"] == 7.0
    assert outputs["set"] == "builtins.set"
    assert outputs["unseen"].endswith(".Config")
    assert outputs["config"].metadata["format"] == "json"
    assert json.loads(outputs["config"].path.read_text()) == {"depth": 3, "name": "tree"}
    formats = {task.name: task.outputs["Output"].metadata.get("format") for task in run.tasks if task.name in FORMATS}
    assert formats == FORMATS
    assert "pickled" in run.task("odd").outputs["Output"].metadata["note"]


FORMATS = {"array": "npy", "model": "skops", "settings": "json", "written": "file", "odd": "pickle", "deeper": "json"}


# ------------------------------------------------------------------ what runs are given
@ml.component
def total(frame: pd.DataFrame, values: list) -> float:
    return float(frame["x"].sum()) + sum(values)


@ml.pipeline
def given(frame: pd.DataFrame, values: list = [1, 2]) -> float:  # noqa: B006 - as people write it
    return total(frame, values)


def test_objects_of_the_kernel_are_stored_by_content(platform: LocalPlatform) -> None:
    first = platform.run(given, frame=pd.DataFrame({"x": [1, 2]}))
    again = platform.run(given, frame=pd.DataFrame({"x": [1, 2]}))
    other = platform.run(given, frame=pd.DataFrame({"x": [1, 3]}), values=[1, 2])
    assert (first.output, again.output, other.output) == (6.0, 6.0, 7.0)
    assert again.task("total").state == "CACHED"
    assert "the content of artifact 'frame' changed" in other.task("total").why()
    stored = list((platform.home / "artifacts" / "values").glob("*/*/*"))
    assert len(stored) == 2


def test_wrong_arguments_start_nothing(platform: LocalPlatform) -> None:
    with pytest.raises(InvalidParameters, match="rows"):
        averages.run(rows="many")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidParameters, match="unexpected keyword"):
        averages.run(row=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(Unsupported, match="nowhere"):
        averages.options(backend="nowhere").run(rows=3)
    with pytest.raises(Unsupported, match="cluster"):
        averages.options(namespace="team").run(rows=3)


# ------------------------------------------------------------------ control flow
@ml.component
def square(x: int, plus: int = 0) -> int:
    return x * x + plus


@ml.component
def largest(values: list[int]) -> int:
    return max(values)


@ml.component
def label(text: str) -> str:
    return text


@ml.pipeline
def mapped(numbers: list[int], limit: int = 10) -> str:
    best = largest(square.map(numbers, plus=1))
    with dsl.If(best > limit):
        big = label("big")
    with dsl.Else():
        small = label("small")
    return dsl.OneOf(big, small)


def test_map_and_conditions(platform: LocalPlatform) -> None:
    assert square.map([1, 2], plus=1) == [2, 5]
    assert platform.run(mapped, numbers=[1, 2, 3]).output == "small"
    assert platform.run(mapped, numbers=[1, 5]).output == "big"


@ml.component
def frame_of(n: int) -> pd.DataFrame:
    return pd.DataFrame({"n": [n]})


@ml.component
def joined(frames: list[pd.DataFrame], names: dict[str, Any]) -> str:
    return f"{pd.concat(frames)['n'].tolist()} {sorted(names)} {int(names['b']['n'].sum())}"


@ml.pipeline
def fan_in(n: int) -> str:
    frames = frame_of.map([1, 2])
    first, second = frame_of(n), frame_of(4)
    label(joined(frames, {"a": 1, "b": first}))
    return joined([first, second], {"a": n, "b": second})


def test_lists_and_dicts_of_what_tasks_give(platform: LocalPlatform) -> None:
    run = platform.run(fan_in, n=3)
    assert run.output == "[3, 4] ['a', 'b'] 4"
    assert run.task("label").outputs["Output"] == "[1, 2] ['a', 'b'] 3"


@ml.pipeline
def inner(n: int) -> int:
    return square(n, plus=1)


@ml.pipeline
def outer(n: int = 2) -> int:
    return square(inner(n))


def test_pipelines_in_pipelines(platform: LocalPlatform) -> None:
    assert platform.run(outer, n=2).output == outer(2) == 25


# ------------------------------------------------------------------ failures, secrets, plans
@ml.component
def failing(n: int) -> float:
    return 1 / (n - n)


@ml.pipeline
def fails() -> float:
    return failing(3)


def test_a_failure_is_the_users_own(platform: LocalPlatform) -> None:
    run = fails.run()
    with pytest.raises(TaskFailed) as caught:
        run.wait(check=True)
    text = caught.value.traceback
    assert "return 1 / (n - n)" in text
    assert "ZeroDivisionError" in text
    assert "test_sdk.py" in text
    assert "mlplatform" not in text.replace(str(Path(__file__).parent), "")


@ml.component
def wrong() -> int:
    return "three"  # type: ignore[return-value]


@ml.pipeline
def returns_wrong() -> int:
    return wrong()


def test_a_result_that_breaks_its_annotation(platform: LocalPlatform) -> None:
    run = returns_wrong.run()
    run.wait(check=False)
    assert "wrong returned 'three', which is no int" in str(run.task("wrong").record.error)


@ml.component
def login(token: str) -> int:
    print("the token is", token)
    return len(token)


@ml.pipeline
def with_secret() -> int:
    return login(ml.secret("SERVICE_TOKEN"))


def test_secrets_come_at_run_time_and_are_nowhere(platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidParameters, match="SERVICE_TOKEN"):
        with_secret.run()
    monkeypatch.setenv("SERVICE_TOKEN", "a-very-secret-word-17")
    run = platform.run(with_secret)
    assert run.output == len("a-very-secret-word-17")
    assert "a-very-secret-word-17" not in run.task("login").log
    assert "a-very-secret-word-17" not in with_secret.compile()
    for file in platform.home.rglob("*"):
        if file.is_file() and file.stat().st_size < 10**7:
            assert b"a-very-secret-word-17" not in file.read_bytes(), file


def test_texts_that_look_like_secrets_are_refused(platform: LocalPlatform) -> None:
    @ml.pipeline
    def p(api_key: str) -> str:
        return label(api_key)

    with pytest.raises(InvalidInput, match=r"ml\.secret") as caught:
        p.run(api_key="ghp_" + "a1B2" * 9)
    assert "a1B2" not in str(caught.value)


def test_a_plan_says_what_would_run_and_why(platform: LocalPlatform) -> None:
    @ml.component
    def only_here(x: int) -> int:
        return x + 1

    @ml.pipeline
    def p(x: int = 1) -> int:
        return square(only_here(x), plus=5)

    before = {item.task: (item.action, item.why) for item in p.plan(x=1)}
    assert before["only-here"][0] == "run"
    assert before["square"] == ("unknown", "depends on only-here")
    platform.run(p, x=1)
    after = {item.task: item.action for item in p.plan(x=1)}
    assert after == {"only-here": "reuse", "square": "reuse"}
    changed = p.plan(x=2)
    assert "parameter 'x' changed: 1 -> 2" in changed["only-here"].why
    assert "only-here" in repr(changed)


BIG = np.arange(3_000_000, dtype="int64")


@ml.component
def uses_big(n: int) -> int:
    return int(BIG[n]) + len(BIG)


@ml.pipeline
def big(n: int) -> int:
    return uses_big(n)


def test_large_values_that_a_function_reaches_are_artifacts(platform: LocalPlatform) -> None:
    assert len(big.compile()) < 40_000
    assert platform.run(big, n=5).output == 3_000_005


def test_tasks_run_where_their_author_stands(
    platform: LocalPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("x\n1\n2\n")
    monkeypatch.chdir(tmp_path)

    @ml.component
    def load() -> int:
        return int(pd.read_csv("data/x.csv")["x"].sum())

    @ml.pipeline
    def p() -> int:
        return load()

    assert platform.run(p).output == 3
    assert platform.run(p).task("load").state == "CACHED"
    (tmp_path / "data" / "x.csv").write_text("x\n1\n5\n")
    again = platform.run(p)
    assert again.output == 6
    assert "x.csv" in again.task("load").why()


def test_options_of_tasks_and_runs(platform: LocalPlatform) -> None:
    @ml.component(cpus=1, memory="200Mi")
    def where() -> str:
        return os.environ["MODE"]

    @ml.pipeline
    def p() -> str:
        return where.options(env={"MODE": "fast"}, retries=1, cache=False, timeout="2m", name="there")()

    run = p.options(home=platform.home, experiment="tries", name="mine", tags={"a": "b"}).run()
    run.wait(check=True)
    assert (run.output, run.name, run.experiment, dict(run.tags)["a"]) == ("fast", "mine", "tries", "b")
    assert [task.name for task in run.tasks] == ["there"]


def ten_times(a: int) -> int:
    return a * 10


def without_words(function: Any) -> Any:
    """Annotations as classes: kfp does not read them as texts."""
    function.__annotations__ = {"a": int, "return": int}
    return function


def test_kfp_components_and_yaml_mix_in(platform: LocalPlatform, tmp_path: Path) -> None:
    kfp_dsl: Any = pytest.importorskip("kfp.dsl")

    theirs = kfp_dsl.component(base_image="python:3.12")(without_words(ten_times))

    loaded = ml.load_component(outer.compile())
    from_kfp = ml.load_component(theirs)

    @ml.pipeline
    def p(n: int) -> int:
        return square(from_kfp(a=loaded(n=n).output).output)

    assert platform.run(p, n=2).output == 250**2


def test_kfp_style_arguments_in_our_components(platform: LocalPlatform) -> None:
    @ml.component
    def make(rows: int, data: dsl.Output[dsl.Dataset]) -> pd.DataFrame:
        frame = pd.DataFrame({"x": range(rows)})
        frame.to_csv(data.path, index=False)
        data.metadata["rows"] = rows
        return frame

    @ml.component
    def use(data: dsl.Input[dsl.Dataset], frame: pd.DataFrame, metrics: dsl.Output[dsl.Metrics]) -> int:
        metrics.log_metric("rows", data.metadata["rows"])
        return len(pd.read_csv(data.path)) + len(frame)

    @ml.pipeline
    def p() -> int:
        made = ml.task(make(4))
        return use(made.outputs["data"], made.output)

    run = platform.run(p)
    assert run.output == 8
    assert run.task("use").outputs["metrics"].metadata == {"rows": 4}


def test_what_an_author_says_a_task_reads(
    platform: LocalPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.txt").write_text("1")

    @ml.component(reads=["given"])
    def counted() -> int:
        return 7

    @ml.pipeline
    def p() -> int:
        return counted()

    platform.run(p)
    assert platform.run(p).task("counted").state == "CACHED"
    (tmp_path / "given" / "a.txt").write_text("2")
    again = platform.run(p).task("counted")
    assert (again.state, "a.txt" in again.why()) == ("SUCCEEDED", True)


def test_a_files_large_values_and_constants_run_from_the_command_line(tmp_path: Path) -> None:
    from tests.support.home import home_in

    (tmp_path / "big.py").write_text(
        "import numpy as np\nimport mlplatform as ml\nTABLE = np.arange(2_000_000, dtype=float)\nFACTOR = 2\n\n"
        "@ml.component\ndef total(k: int) -> float:\n    return float(TABLE[:5].sum() * FACTOR + k + len(TABLE))\n\n"
        "@ml.component\ndef add(a: np.ndarray, b: float) -> float:\n    return float(a.sum()) + b\n\n"
        "@ml.pipeline\ndef p(k: int = 1) -> float:\n    return add(np.array([1.0, 5.0]), total(k))\n"
    )
    with home_in(tmp_path) as home:
        result = home.json("run", "big.py", "-p", "k=3", timeout=300)
        assert result["state"] == "SUCCEEDED", result["error"]
        assert result["outputs"] == {"Output": 2_000_000 + 20 + 3 + 6.0}
        again = home.json("run", "big.py", "-p", "k=3", timeout=300)
        assert all(task["cached"] for task in again["tasks"])
        checked = home.json("validate", "big.py")
        assert {name: told["of_file"] for name, told in checked["artifacts"].items()} == {
            "captured-TABLE": True,
            "value-a": True,
        }
        written = home.command("compile", "big.py", "-o", "big.yaml")
        assert "captured-TABLE is a value of big.py, not in big.yaml" in written.stderr
