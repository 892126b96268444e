"""Caching is worth something: ordinary work of data scientists, run again unchanged, is reused."""

# ruff: noqa: E501 - programs of the tasks

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.support.home import home_in, states
from tests.support.pipelines import Builder

#: Bodies of functions that return a text; ``table`` is the path of a CSV file of the project.
_TASKS = {
    "pandas-csv": "import pandas as pd\nreturn str(pd.read_csv(table).describe().shape)",
    "pandas-groupby": "import pandas as pd\nd = pd.read_csv(table)\nreturn d.groupby('k')['v'].mean().to_json()",
    "pandas-merge": (
        "import pandas as pd\nd = pd.read_csv(table)\n"
        "return str(len(d.merge(d.groupby('k', as_index=False)['v'].sum(), on='k', suffixes=('', '_all'))))"
    ),
    "pandas-dates": (
        "import pandas as pd\nd = pd.read_csv(table, parse_dates=['day']).set_index('day')\n"
        "return str(d['v'].resample('W').sum().tolist())"
    ),
    "pandas-json": "import pandas as pd, io\nreturn pd.read_json(io.StringIO(pd.read_csv(table).to_json())).to_csv()",
    "numpy-linear": "import numpy as np\nreturn str(np.linalg.svd(np.arange(100.0).reshape(10, 10))[1].round(6).tolist())",
    "numpy-random": "import numpy as np\nreturn str(np.random.default_rng(7).normal(size=3).tolist())",
    "sklearn-digits": (
        "from sklearn.datasets import load_digits\nfrom sklearn.linear_model import LogisticRegression\n"
        "x, y = load_digits(return_X_y=True)\n"
        "return str(LogisticRegression(max_iter=200).fit(x[:300] / 16, y[:300]).score(x[300:600] / 16, y[300:600]))"
    ),
    "sklearn-forest": (
        "from sklearn.datasets import load_breast_cancer\nfrom sklearn.ensemble import RandomForestClassifier\n"
        "x, y = load_breast_cancer(return_X_y=True)\n"
        "return str(RandomForestClassifier(20, random_state=0, n_jobs=2).fit(x, y).score(x, y))"
    ),
    "sklearn-boosting": (
        "from sklearn.datasets import load_diabetes\nfrom sklearn.ensemble import HistGradientBoostingRegressor\n"
        "x, y = load_diabetes(return_X_y=True)\n"
        "return str(round(HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(x, y).score(x, y), 6))"
    ),
    "sklearn-search": (
        "from sklearn.datasets import load_iris\nfrom sklearn.model_selection import GridSearchCV\n"
        "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n"
        "from sklearn.svm import SVC\nx, y = load_iris(return_X_y=True)\n"
        "s = GridSearchCV(make_pipeline(StandardScaler(), SVC()), {'svc__C': [0.1, 1, 10]}, n_jobs=2).fit(x, y)\n"
        "return str(s.best_params_)"
    ),
    "sklearn-kmeans": (
        "from sklearn.cluster import KMeans\nfrom sklearn.datasets import make_blobs\n"
        "x, _ = make_blobs(200, random_state=3)\nreturn str(round(KMeans(3, n_init=2, random_state=0).fit(x).inertia_, 4))"
    ),
    "polars-lazy": (
        "import polars as pl\n"
        "return str(pl.scan_csv(table).group_by('k').agg(pl.col('v').sum()).sort('k').collect().rows())"
    ),
    "polars-eager": "import polars as pl\nreturn str(pl.read_csv(table).select(pl.col('v').rolling_mean(3)).sum().item())",
    "arrow-csv": "import pyarrow.csv as c\nreturn str(c.read_csv(table).num_rows)",
    "scipy-optimize": "from scipy.optimize import minimize\nreturn str(minimize(lambda v: (v[0] - 2) ** 2, [0.0]).x.round(4).tolist())",
    "standard-library": (
        "import collections, csv, pathlib, statistics\n"
        "rows = list(csv.DictReader(pathlib.Path(table).open()))\n"
        "return str((statistics.mean(float(r['v']) for r in rows), collections.Counter(r['k'] for r in rows)))"
    ),
}  # fmt: skip

#: Bodies of functions with an input artifact ``data`` and an output artifact ``out``.
_WITH_ARTIFACTS = {
    "parquet": "import pandas as pd\npd.read_csv(data.path).to_parquet(out.path)",
    "features": (
        "import pandas as pd\nd = pd.read_parquet(data.path)\nd['lag'] = d['v'].shift(1)\nd.dropna().to_parquet(out.path)"
    ),
    "plot": (
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nimport pandas as pd\n"
        "d = pd.read_parquet(data.path)\nfig, ax = plt.subplots()\nax.plot(d['v'])\nax.set_title('v')\n"
        "fig.savefig(out.path, format='png')"
    ),
    "model": (
        "import joblib, pandas as pd\nfrom sklearn.linear_model import LinearRegression\n"
        "d = pd.read_parquet(data.path)\njoblib.dump(LinearRegression().fit(d[['lag']], d['v']), out.path)"
    ),
    "predict": "import joblib\nm = joblib.load(data.path)\nopen(out.path, 'w').write(str(m.coef_.round(8).tolist()))",
}


def ordinary_work(table: Path) -> Builder:
    builder = Builder("ordinary-work")
    for name, body in _TASKS.items():
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        source = f"def work(table: str) -> str:\n{lines}"
        builder.component(name, source, inputs={"table": "STRING"}, outputs={"Output": "STRING"}, function="work")
        builder.task(name, constants={"table": str(table)}, cache=True)
    source = "def work(table: str, out: Output[Dataset]):\n    import shutil\n    shutil.copyfile(table, out.path)\n"
    builder.component(
        "copy", source, inputs={"table": "STRING"}, artifacts_out={"out": "system.Dataset"}, function="work"
    )
    builder.task("copy", constants={"table": str(table)}, cache=True)
    before = {"parquet": "copy", "features": "parquet", "plot": "features", "model": "features", "predict": "model"}
    for name, body in _WITH_ARTIFACTS.items():
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        source = f"def work(data: Input[Artifact], out: Output[Artifact]):\n{lines}"
        artifact = "system.Artifact"
        builder.component(
            name, source, artifacts_in={"data": artifact}, artifacts_out={"out": artifact}, function="work"
        )
        builder.task(name, artifacts={"data": (before[name], "out")}, cache=True)
    return builder


@pytest.mark.parametrize("mode", ["fork", "spawn"])
def test_unchanged_reruns_of_ordinary_work_are_reused(mode: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{'abc'[i % 3]},{(i * 37) % 101},2026-01-{i % 28 + 1:02}" for i in range(200)]
    table.write_text("\n".join(["k,v,day", *rows]) + "\n")
    builder = ordinary_work(table)
    with home_in(tmp_path, MPLCONFIGDIR=str(tmp_path / "mpl"), MLPLATFORM_EXECUTION=mode) as home:
        first = home.run(builder, timeout=600)
        assert first["state"] == "SUCCEEDED", {t["name"]: t["why"] for t in first["tasks"]}
        os.utime(table)  # touched, not changed
        shutil.rmtree(tmp_path / "mpl", ignore_errors=True)
        again = home.run(builder, timeout=600)
        home.stop()
        later = home.run(builder, timeout=600)  # another service
    counts = Counter(states(again).values()) + Counter(states(later).values())
    share = counts["CACHED"] / counts.total()
    missed = {task["name"]: task["why"] for run in (again, later) for task in run["tasks"] if task["state"] != "CACHED"}
    with capsys.disabled():
        print(f"\n{mode}: {counts['CACHED']} of {counts.total()} unchanged reruns of real tasks reused; not: {missed}")
    assert counts.total() >= 40
    assert share >= 0.95, missed
