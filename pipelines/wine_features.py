"""Features with pandas: clean, derive and describe a table; tables and plots are artifacts.

Data: scikit-learn's wine set (178 wines of three cultivars, 13 chemical measurements).
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Output

IMAGE = "python:3.11"
PANDAS = ["pandas==3.1.1", "scikit-learn==1.9.1", "pyarrow==25.0.1"]
PLOTS = ["pandas==3.1.1", "pyarrow==25.0.1", "matplotlib==3.11.2"]


@dsl.component(base_image=IMAGE, packages_to_install=PANDAS)
def load_wines(wines: Output[Dataset]):
    """The measurements as Parquet, with the cultivar by name."""
    from sklearn.datasets import load_wine

    data = load_wine(as_frame=True)
    frame = data.frame.assign(cultivar=data.target_names[data.target]).drop(columns="target")
    frame = frame.rename(columns={"od280/od315_of_diluted_wines": "od280_od315"})
    frame.to_parquet(wines.path)
    wines.metadata.update({"rows": len(frame), "columns": frame.shape[1]})


@dsl.component(base_image=IMAGE, packages_to_install=PANDAS)
def clean(wines: Input[Dataset], cleaned: Output[Dataset], limit: float) -> NamedTuple(
    "Counts", [("kept", int), ("dropped", int)]
):
    """Drop wines with a measurement more than ``limit`` standard deviations from its cultivar's mean."""
    from typing import NamedTuple

    import pandas as pd

    frame = pd.read_parquet(wines.path)
    numbers = frame.drop(columns="cultivar")
    groups = numbers.groupby(frame["cultivar"])
    distance = ((numbers - groups.transform("mean")) / groups.transform("std")).abs()
    usual = (distance <= limit).all(axis=1)
    frame[usual].to_parquet(cleaned.path)
    kept = int(usual.sum())
    return NamedTuple("Counts", [("kept", int), ("dropped", int)])(kept, len(frame) - kept)


@dsl.component(base_image=IMAGE, packages_to_install=PANDAS)
def derive(cleaned: Input[Dataset], features: Output[Dataset], metrics: Output[Metrics]):
    """Ratios that chemists look at, and how much of the cultivar each feature explains (eta squared)."""
    import pandas as pd

    frame = pd.read_parquet(cleaned.path)
    frame["phenol_share"] = frame["flavanoids"] / frame["total_phenols"]
    frame["colour_per_phenol"] = frame["color_intensity"] / frame["total_phenols"]
    frame["ash_ratio"] = frame["alcalinity_of_ash"] / frame["ash"]
    numbers = frame.drop(columns="cultivar")
    between = (numbers.groupby(frame["cultivar"]).transform("mean") - numbers.mean()).pow(2).sum()
    explained = (between / (numbers - numbers.mean()).pow(2).sum()).sort_values(ascending=False)
    frame.to_parquet(features.path)
    features.metadata["explained"] = {name: round(float(value), 4) for name, value in explained.items()}
    for name in explained.index[:5]:
        metrics.log_metric(f"explained_{name}", round(float(explained[name]), 4))


@dsl.component(base_image=IMAGE, packages_to_install=PANDAS)
def describe(features: Input[Dataset], table: Output[Markdown], summary: Output[Dataset]):
    """Means by cultivar: a CSV to go on with, a table to look at."""
    import pandas as pd

    frame = pd.read_parquet(features.path)
    means = frame.groupby("cultivar").mean().T.round(3)
    means.to_csv(summary.path)
    header = "| measurement | " + " | ".join(means.columns) + " |\n|---" + "|---:" * means.shape[1] + "|\n"
    rows = "".join(f"| {name} | " + " | ".join(f"{v:g}" for v in row) + " |\n" for name, row in means.iterrows())
    with open(table.path, "w") as file:
        file.write("# Means by cultivar\n\n" + header + rows)


@dsl.component(base_image=IMAGE, packages_to_install=PLOTS)
def plot(features: Input[Dataset], picture: Output[Artifact], page: Output[HTML]):
    """The two features that tell most, as PNG and as a page that holds it."""
    import base64

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import pandas as pd

    frame = pd.read_parquet(features.path)
    x, y = list(features.metadata["explained"])[:2]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for cultivar, group in frame.groupby("cultivar"):
        axes.scatter(group[x], group[y], label=cultivar, s=18)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend()
    figure.savefig(picture.path, format="png", dpi=110, metadata={"Software": None})
    picture.metadata.update({"x": x, "y": y, "media_type": "image/png"})
    with open(picture.path, "rb") as file:
        data = base64.b64encode(file.read()).decode()
    with open(page.path, "w") as file:
        file.write(f'<h1>Three cultivars</h1><img alt="{x} and {y}" src="data:image/png;base64,{data}">')


@dsl.pipeline(name="wine-features", description="Clean, derive and describe features; tables and plots as artifacts.")
def wine_features(
    limit: float = 3.0,
) -> NamedTuple("Outputs", [("kept", int), ("dropped", int), ("table", Markdown), ("page", HTML)]):
    wines = load_wines()
    cleaned = clean(wines=wines.outputs["wines"], limit=limit)
    derived = derive(cleaned=cleaned.outputs["cleaned"])
    described = describe(features=derived.outputs["features"])
    plotted = plot(features=derived.outputs["features"])
    outputs = NamedTuple("Outputs", [("kept", int), ("dropped", int), ("table", Markdown), ("page", HTML)])
    return outputs(
        kept=cleaned.outputs["kept"],
        dropped=cleaned.outputs["dropped"],
        table=described.outputs["table"],
        page=plotted.outputs["page"],
    )
