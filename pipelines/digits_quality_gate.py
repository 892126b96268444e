"""Conditional registration: a model is registered only if it passes a quality gate; an exit handler reports, always.

Try ``-p threshold=0.999``: the gate closes, the run still succeeds and says why nothing was registered. Try
``-p training_images=5``: training cannot work, the run fails, and the exit handler reports that as well.
"""

from kfp import dsl
from kfp.dsl import Input, Markdown, Metrics, Model, Output, PipelineTaskFinalStatus

IMAGE = "python:3.11"
PACKAGES = ["scikit-learn==1.9.1"]


@dsl.component(base_image=IMAGE, packages_to_install=PACKAGES)
def train_reader(training_images: int, model: Output[Model], metrics: Output[Metrics]) -> float:
    """Train on the first images, measure on the last 500; returns the accuracy."""
    import pickle

    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    images, digits = load_digits(return_X_y=True)
    if not 100 <= training_images <= len(images) - 500:
        raise ValueError(f"training_images must be 100 to {len(images) - 500}, not {training_images}")
    reader = SVC(gamma=0.001).fit(images[:training_images], digits[:training_images])
    accuracy = float(reader.score(images[-500:], digits[-500:]))
    with open(model.path, "wb") as file:
        pickle.dump(reader, file)
    metrics.log_metric("accuracy", accuracy)
    return accuracy


@dsl.component(base_image=IMAGE)
def register(name: str, accuracy: float, model: Input[Model], registered: Output[Model]) -> str:
    """Hand the model to the registry: the platform registers a Model whose metadata names a registered model."""
    import shutil

    shutil.copy(model.path, registered.path)
    registered.metadata.update(
        {"registered_model_name": name, "registered_model_alias": "champion", "accuracy": accuracy}
    )
    return f"registered as {name} with accuracy {accuracy:.4f}"


@dsl.component(base_image=IMAGE)
def refuse(accuracy: float, threshold: float) -> str:
    """Say why nothing was registered."""
    return f"not registered: accuracy {accuracy:.4f} is below {threshold:.4f}"


@dsl.component(base_image=IMAGE)
def announce(verdict: str, note: Output[Markdown]):
    """Write the verdict down, whichever it was."""
    with open(note.path, "w") as file:
        file.write(f"The model was {verdict}.\n")
    print(verdict)


@dsl.component(base_image=IMAGE)
def report(status: PipelineTaskFinalStatus, name: str, page: Output[Markdown]):
    """Runs whatever happened, and writes down what did."""
    lines = [f"# {name}", "", f"Training and registration: **{status.state}**"]
    if status.error_message:
        lines += ["", "```", status.error_message, "```"]
    with open(page.path, "w") as file:
        file.write("\n".join(lines) + "\n")
    print(f"{name}: {status.state}")


@dsl.pipeline(name="digits-quality-gate", description="Register a model only if it is good enough; report always.")
def digits_quality_gate(training_images: int = 1200, threshold: float = 0.95, name: str = "digits"):
    with dsl.ExitHandler(report(name=name), name="train-and-register"):
        trained = train_reader(training_images=training_images)
        accuracy = trained.outputs["Output"]
        with dsl.If(accuracy >= threshold, name="good-enough"):
            yes = register(name=name, accuracy=accuracy, model=trained.outputs["model"])
        with dsl.Else(name="not-good-enough"):
            no = refuse(accuracy=accuracy, threshold=threshold)
        announce(verdict=dsl.OneOf(yes.outputs["Output"], no.output))
