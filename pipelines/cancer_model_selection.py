"""Training with model selection and registration, on scikit-learn's breast cancer data (569 biopsies, 30 features).

Three kinds of models compete in cross-validation; the winner is trained on everything but the test part, judged on
the test part and handed to the model registry.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import ClassificationMetrics, Dataset, Input, Metrics, Model, Output

IMAGE = "python:3.11"
PACKAGES = ["scikit-learn==1.9.1", "pandas==3.1.1"]


@dsl.component(base_image=IMAGE, packages_to_install=PACKAGES)
def load_biopsies(train: Output[Dataset], test: Output[Dataset], test_share: float = 0.3, seed: int = 0):
    """Write the training and the test part as CSV, stratified by diagnosis."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer(as_frame=True)
    frame = data.frame.assign(diagnosis=data.target_names[data.target]).drop(columns="target")
    parts = train_test_split(frame, test_size=test_share, stratify=frame["diagnosis"], random_state=seed)
    for part, artifact in zip(parts, (train, test)):
        part.to_csv(artifact.path, index=False)
        artifact.metadata.update({"rows": len(part), "malignant": int((part["diagnosis"] == "malignant").sum())})


@dsl.component(base_image=IMAGE, packages_to_install=PACKAGES)
def cross_validate(kind: str, train: Input[Dataset], metrics: Output[Metrics], folds: int = 5) -> float:
    """Mean area under the ROC curve of one kind of model."""
    import pandas as pd
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(9)),
        "boosting": GradientBoostingClassifier(n_estimators=60, random_state=0),
    }[kind]
    frame = pd.read_csv(train.path)
    scores = cross_val_score(
        estimator, frame.drop(columns="diagnosis"), frame["diagnosis"] == "malignant", cv=folds, scoring="roc_auc"
    )
    metrics.log_metric("roc_auc", float(scores.mean()))
    metrics.log_metric("roc_auc_deviation", float(scores.std()))
    return float(scores.mean())


@dsl.component(base_image=IMAGE)
def choose(logistic: float, neighbours: float, boosting: float) -> NamedTuple(
    "Choice", [("kind", str), ("auc", float)]
):
    """The kind with the highest score."""
    from typing import NamedTuple

    scores = {"logistic": logistic, "neighbours": neighbours, "boosting": boosting}
    kind = max(scores, key=scores.get)
    return NamedTuple("Choice", [("kind", str), ("auc", float)])(kind, scores[kind])


@dsl.component(base_image=IMAGE, packages_to_install=PACKAGES)
def train_and_judge(
    kind: str,
    train: Input[Dataset],
    test: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    curve: Output[ClassificationMetrics],
) -> NamedTuple("Judged", [("accuracy", float), ("recall", float)]):
    """Fit the chosen kind, measure it on the test part."""
    import pickle
    from typing import NamedTuple

    import pandas as pd
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(9)),
        "boosting": GradientBoostingClassifier(n_estimators=60, random_state=0),
    }[kind]
    known, unseen = pd.read_csv(train.path), pd.read_csv(test.path)
    estimator.fit(known.drop(columns="diagnosis"), known["diagnosis"])
    guesses = estimator.predict(unseen.drop(columns="diagnosis"))
    truth = unseen["diagnosis"]
    with open(model.path, "wb") as file:
        pickle.dump(estimator, file)
    model.metadata.update({"framework": "scikit-learn", "kind": kind})
    labels = ["benign", "malignant"]
    curve.log_confusion_matrix(labels, confusion_matrix(truth, guesses, labels=labels).tolist())
    accuracy = float(accuracy_score(truth, guesses))
    recall = float(recall_score(truth, guesses, pos_label="malignant"))
    metrics.log_metric("accuracy", accuracy)
    metrics.log_metric("recall", recall)
    return NamedTuple("Judged", [("accuracy", float), ("recall", float)])(accuracy, recall)


@dsl.component(base_image=IMAGE)
def register(name: str, model: Input[Model], registered: Output[Model], accuracy: float):
    """Hand the model to the registry: the platform registers a Model whose metadata names a registered model."""
    import shutil

    shutil.copy(model.path, registered.path)
    registered.metadata.update(model.metadata)
    registered.metadata.update(
        {"registered_model_name": name, "registered_model_alias": "champion", "accuracy": accuracy}
    )


@dsl.pipeline(
    name="cancer-model-selection",
    description="Three kinds of models compete on biopsies; the winner is trained, judged and registered.",
)
def cancer_model_selection(test_share: float = 0.3, registered_name: str = "breast-cancer") -> NamedTuple(
    "Outputs", [("kind", str), ("accuracy", float), ("recall", float)]
):
    data = load_biopsies(test_share=test_share)
    scores = {}
    for kind in ("logistic", "neighbours", "boosting"):
        task = cross_validate(kind=kind, train=data.outputs["train"]).set_display_name(f"cross-validate {kind}")
        scores[kind] = task.outputs["Output"]
    chosen = choose(**scores)
    judged = train_and_judge(kind=chosen.outputs["kind"], train=data.outputs["train"], test=data.outputs["test"])
    register(name=registered_name, model=judged.outputs["model"], accuracy=judged.outputs["accuracy"])
    outputs = NamedTuple("Outputs", [("kind", str), ("accuracy", float), ("recall", float)])
    return outputs(chosen.outputs["kind"], judged.outputs["accuracy"], judged.outputs["recall"])
