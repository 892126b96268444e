"""Which cells make which task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidPipeline
from mlplatform.notebook.convert import convert
from mlplatform.notebook.model import Settings
from mlplatform.notebook.partition import plan
from mlplatform.notebook.percent import read
from tests.support.books import book, code, md, planned, raw, tasks


def test_sections() -> None:
    made = planned(
        md("# Title"),
        code("import os"),
        md("## Load data"),
        code("a = []"),
        md("text"),
        code("a.append(2)"),
        md("## 2. Plot"),
        code(""),
        md("### Detail"),
        code("b = a"),
        md("## References"),
    )
    assert made.split_by == "sections"
    assert tasks(made) == {"setup": [1], "load-data": [3, 5], "plot": [9]}
    assert [each.title for each in made.tasks] == ["Title", "Load data", "2. Plot"]


def test_sections_of_one_name_and_without_letters() -> None:
    made = planned(md("## Plot"), code("a = f()"), md("## Plot"), code("b = f()"), md("## 图"), code("c = f()"))
    assert tasks(made) == {"plot": [1], "plot-2": [3], "section-3": [5]}


def test_a_title_cell_with_the_first_heading() -> None:
    made = planned(md("# Book\n\n## First"), code("a = f()"), md("## Second"), code("b = a"))
    assert tasks(made) == {"first": [1], "second": [3]}


def test_headings_of_raw_cells() -> None:
    rst = "text/restructuredtext"
    made = planned(raw("Title\n=====", rst), raw("One\n---", rst), code("a = f()"), raw("Two\n---", rst), code("b = a"))
    assert tasks(made) == {"one": [2], "two": [4]}


def test_kales_tags() -> None:
    made = planned(
        code("import os", "imports"),
        code("def f(x): return x", "functions"),
        code("n = 3", "pipeline-parameters"),
        code("a = f(n)", "step:load"),
        code("a += 1"),
        code("a = 9", "skip"),
        md("## A heading says nothing here"),
        code("b = a", "step:left_side", "prev:load", "limit:memory:2Gi", "cache:disabled"),
        code("c = a", "step:right", "prev:load"),
        code("a = 0", "step:load"),
        code("print(c)", "pipeline-metrics"),
    )
    assert made.split_by == "tags"
    assert tasks(made) == {
        "imports": [0],
        "functions": [1],
        "parameters": [2],
        "load": [3, 4],
        "left-side": [7],
        "right": [8],
        "load-2": [9],
        "metrics": [10],
    }
    left = made.tasks[4]
    assert left.task.after == ("load",)
    assert left.settings == Settings("", {"memory": "2Gi"}, {}, {}, False)


def test_untagged_cells_above_the_first_tag() -> None:
    made = planned(code("import os"), code("a = 1", "step:a"))
    assert tasks(made) == {"setup": [0], "a": [1]}


def test_notebook_defaults_of_kale() -> None:
    kale = {"steps_defaults": ["limit:cpu:2"], "pipeline_name": "My Pipe", "pipeline_description": "d"}
    made = planned(code("a = 1", "step:a", "limit:cpu:1"), code("b = 1", "step:b"), kubeflow_notebook=kale)
    assert [each.settings.limits for each in made.tasks] == [{"cpu": "1"}, {"cpu": "2"}]
    pipeline = convert(made)
    assert (pipeline.name, pipeline.description) == ("my-pipe", "d")


def test_tags_that_contradict_are_told_together() -> None:
    with pytest.raises(InvalidPipeline) as caught:
        planned(code("a = 1", "step:one", "prev:two"), code("b = 1", "step:two", "limit:memory"))
    assert [(each.path, each.code) for each in caught.value.findings] == [
        ("cells[0].metadata.tags", "unknown-name"),
        ("cells[1].metadata.tags", "bad-tag"),
    ]


def test_a_misspelt_step_is_recognised() -> None:
    with pytest.raises(InvalidPipeline, match="did you mean 'load'"):
        planned(code("a = 1", "step:load"), code("b = 1", "step:b", "prev:laod"))


@pytest.mark.parametrize("cells", [[], [md("# T")], [code("")], [code("x = 1", "skip")]])
def test_nothing_to_run(cells: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidPipeline, match="no code to run"):
        planned(*cells)


# ------------------------------------------------------------------ data flow
def test_long_work_is_kept_apart() -> None:
    made = planned(
        code("import sklearn\n%matplotlib inline"),
        code("X, y = load_digits()"),
        code("X = X / 16"),
        code("model = SVC().fit(X, y)"),
        code("print(model)"),
        code("scores = cross_val_score(model, X, y)"),
        code("scores.mean()"),
    )
    assert made.split_by == "data flow"
    assert list(tasks(made).values()) == [[0, 1, 2], [3, 4], [5, 6]]


def test_light_cells_stay_one_task() -> None:
    made = planned(code("i, j = 1, 1"), code("for m in range(10):\n    i, j = j, i + j"))
    assert (made.split_by, tasks(made)) == ("one task", {"main": [0, 1]})


def test_imports_at_the_top_are_one_task() -> None:
    made = planned(code("import os"), code("def f(): ..."), code("# only words"), code("a = f()"))
    assert list(tasks(made).values()) == [[0, 1, 2], [3]]
    assert made.tasks[0].task.name == "setup"


def test_an_edit_moves_no_other_cut() -> None:
    cells = [code("import os"), *(code(f"m{n} = fit(m{n - 1})\nprint(m{n})") for n in range(1, 9))]
    before = tasks(planned(*cells)).values()
    cells[4] = code("m4 = fit(m3, 2)\nprint(m4)")
    assert list(tasks(planned(*cells)).values()) == list(before)


def test_many_cells_make_a_bounded_number_of_tasks() -> None:
    made = planned(code("import os"), *(code(f"m{n} = fit({n})") for n in range(200)))
    assert 6 <= len(made.tasks) <= 13


# ------------------------------------------------------------------ parameters
def test_papermills_cell_ends_its_task() -> None:
    made = planned(
        md("## Load"), code("import os"), code("lr = 0.1", "parameters"), code("a = lr"), md("## Train"), code("b = a")
    )
    assert tasks(made) == {"load": [1], "parameters": [2], "load-2": [3], "train": [5]}
    holder = made.tasks[1].task
    assert (holder.parameters, dict(holder.defaults)) == (("lr",), {"lr": 0.1})
    assert all(not each.task.parameters for each in made.tasks if each.task is not holder)


def test_a_first_cell_of_plain_values_is_offered() -> None:
    made = planned(md("## A"), code("import os"), code("n = 3\nname = 'x'"), md("## B"), code("print(n)"))
    assert [each.name for each in made.parameters] == ["n", "name"]
    assert tasks(made) == {"a": [1], "parameters": [2], "b": [4]}


@pytest.mark.parametrize(
    "source", ["n = len('a')", "n = 3\nprint(n)", "n = 3\nseen = []", "api_key = 'x'", "n, m = 1, 2"]
)
def test_other_first_cells_are_not(source: str) -> None:
    assert planned(md("## A"), code(source), md("## B"), code("1 + 1")).parameters == ()


def test_values_are_set_in_the_last_tagged_cell() -> None:
    made = planned(code("a = 1", "parameters"), code("b = 2", "parameters"), code("c = a + b"))
    assert tasks(made)["parameters"] == [0, 1]
    assert made.tasks[0].task.parameters == ("a", "b")


def test_what_may_touch_everything_is_noted() -> None:
    made = planned(md("## A"), code("exec('x = 1')"), md("## B"), code("y = x"))
    assert made.notes == ("task a: cell 1 may touch any variable: it runs text as code (exec)",)
    assert made.tasks[0].task.whole_namespace


def test_cells_that_may_fail() -> None:
    made = planned(md("## A"), code("1/0", "raises-exception"), md("## B"), code("import os"))
    assert [cell.may_fail for each in made.tasks for cell in each.task.cells] == [True, False]
    assert [cell.definitions for each in made.tasks for cell in each.task.cells] == [False, True]


def test_a_script_is_a_notebook_too(tmp_path: Path) -> None:
    made = plan(read("# %% [markdown]\n# ## A\n# %%\na = f()\n# %% [markdown]\n# ## B\n# %%\nb = a\n", "/x/t.py"))
    assert tasks(made) == {"a": [1], "b": [3]}
    assert made.tasks[0].task.notebook == "t.py"


# ------------------------------------------------------------------ properties
CELLS = st.one_of(
    st.sampled_from(["## A", "# T", "### x", "words"]).map(md),
    st.sampled_from(["import os", "x = 1", "m = fit(x)", "", "# words", "%matplotlib inline", "y = m.predict(x)"]).map(
        code
    ),
    st.sampled_from(["parameters", "skip", "raises-exception", "x"]).map(lambda tag: code("n = 1", tag)),
)


@given(st.lists(CELLS, min_size=1, max_size=25))
@settings(max_examples=200, deadline=None)
def test_every_cell_that_runs_is_in_one_task_and_in_order(cells: list[dict[str, Any]]) -> None:
    notebook = book(*cells)
    running = [cell.index for cell in notebook.cells if cell.runs]
    if not running:
        return
    made = plan(notebook)
    assert [index for indexes in tasks(made).values() for index in indexes] == running
    assert len(tasks(made)) == len(made.tasks)
    assert [each.task.position for each in made.tasks] == list(range(len(made.tasks)))
    for each in made.tasks:
        if each.task.parameters:
            assert each.task.cells[-1].index == made.parameters[-1].cell
    json.dumps([each.task.to_json() for each in made.tasks])
