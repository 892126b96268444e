"""What ``make demo`` and ``mlplatform demo`` run: three models learn to read handwritten digits; the best one is kept.

Compiled into ``mlplatform/demo/pipeline.yaml``, so that the demonstration is in the wheel and needs no kfp.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Markdown, Metrics, Model, Output

IMAGE = "python:3.11"  # on a cluster; one machine runs the tasks on its own Python
SKLEARN = "scikit-learn==1.9.1"


@dsl.component(base_image=IMAGE, packages_to_install=[SKLEARN])
def split_digits(
    digits: Input[Dataset], train: Output[Dataset], test: Output[Dataset], test_share: float
) -> NamedTuple("Counts", [("train_rows", int), ("test_rows", int)]):
    """Keep a part of the digits away from training, with as many of each digit in both parts."""
    import gzip
    from typing import NamedTuple

    import numpy as np
    from sklearn.model_selection import train_test_split

    with gzip.open(digits.path) as file:
        table = np.loadtxt(file, delimiter=",")
    parts = train_test_split(table, test_size=test_share, stratify=table[:, -1], random_state=0)
    for part, artifact in zip(parts, (train, test)):
        with open(artifact.path, "wb") as file:
            np.save(file, part)
        artifact.metadata["rows"] = len(part)
    return NamedTuple("Counts", [("train_rows", int), ("test_rows", int)])(len(parts[0]), len(parts[1]))


@dsl.component(base_image=IMAGE, packages_to_install=[SKLEARN])
def train_model(kind: str, train: Input[Dataset], model: Output[Model], metrics: Output[Metrics]) -> float:
    """Fit one kind of model; its score is the mean accuracy of a 3-fold cross-validation."""
    import pickle

    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    estimator = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "random forest": RandomForestClassifier(n_estimators=100, random_state=0),
        "support vector machine": SVC(gamma=0.001),
    }[kind]
    table = np.load(train.path)
    x, y = table[:, :-1], table[:, -1].astype(int)
    score = float(cross_val_score(estimator, x, y, cv=3).mean())
    with open(model.path, "wb") as file:
        pickle.dump(estimator.fit(x, y), file)
    model.metadata["kind"] = kind
    metrics.log_metric("cross_validation_accuracy", score)
    print(f"{kind}: {score:.4f}")
    return score


@dsl.component(base_image=IMAGE, packages_to_install=[SKLEARN])
def keep_the_best(
    models: Input[list[Model]],
    scores: list[float],
    test: Input[Dataset],
    best: Output[Model],
    metrics: Output[Metrics],
    report: Output[Markdown],
) -> NamedTuple("Best", [("kind", str), ("accuracy", float)]):
    """Take the model with the best score and try it on digits that no model has seen."""
    import pickle
    import shutil
    from typing import NamedTuple

    import numpy as np

    winner = max(range(len(scores)), key=scores.__getitem__)
    kind = models[winner].metadata["kind"]
    shutil.copy(models[winner].path, best.path)
    with open(best.path, "rb") as file:
        estimator = pickle.load(file)
    table = np.load(test.path)
    x, y = table[:, :-1], table[:, -1].astype(int)
    guesses = estimator.predict(x)
    accuracy = float((guesses == y).mean())
    best.metadata.update({"kind": kind, "accuracy": accuracy})
    best.metadata.update({"registered_model_name": "handwritten-digits", "registered_model_alias": "champion"})
    metrics.log_metric("test_accuracy", accuracy)

    wrong = np.flatnonzero(guesses != y)
    shades = " .:-=+*#%@"
    pictures = []
    for index in [*np.flatnonzero(guesses == y)[:4], *wrong[:2]]:
        rows = [[shades[int(value * 9 / 16)] for value in row] for row in x[index].reshape(8, 8)]
        caption = f"{y[index]} read as {guesses[index]}"
        pictures.append([f"{''.join(c * 2 for c in row):16}" for row in rows] + [f"{caption:16}"])
    lines = ["   ".join(parts).rstrip() for parts in zip(*pictures)]
    table_rows = [f"| {m.metadata['kind']} | {s:.4f} |" for m, s in zip(models, scores)]
    with open(report.path, "w") as file:
        file.write(f"# Handwritten digits\n\nThe {kind} reads {accuracy:.2%} of {len(y)} unseen digits.\n\n")
        file.write("| model | accuracy in cross-validation |\n|---|---|\n" + "\n".join(table_rows) + "\n\n")
        file.write("```\n" + "\n".join(lines) + "\n```\n")
    return NamedTuple("Best", [("kind", str), ("accuracy", float)])(kind, accuracy)


@dsl.pipeline(name="handwritten-digits", description="Three models learn to read handwritten digits; the best is kept.")
def handwritten_digits(digits_uri: str, test_share: float = 0.25) -> NamedTuple(
    "Outputs", [("best_kind", str), ("accuracy", float)]
):
    digits = dsl.importer(artifact_uri=digits_uri, artifact_class=Dataset, reimport=False)
    digits.set_display_name("digits")
    split = split_digits(digits=digits.output, test_share=test_share)
    with dsl.ParallelFor(["logistic regression", "random forest", "support vector machine"]) as kind:
        trained = train_model(kind=kind, train=split.outputs["train"]).set_cpu_limit("1")
    chosen = keep_the_best(
        models=dsl.Collected(trained.outputs["model"]),
        scores=dsl.Collected(trained.outputs["Output"]),
        test=split.outputs["test"],
    )
    outputs = NamedTuple("Outputs", [("best_kind", str), ("accuracy", float)])
    return outputs(best_kind=chosen.outputs["kind"], accuracy=chosen.outputs["accuracy"])
