"""A sweep: ParallelFor over the settings of a ridge regression, and Collected to compare them.

Data: scikit-learn's diabetes set (442 patients, 10 features, progression of the disease after a year).
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Output

IMAGE = "python:3.11"
PACKAGES = ["scikit-learn==1.9.1", "pandas==3.1.1"]


@dsl.component(base_image=IMAGE, packages_to_install=PACKAGES)
def load_patients(patients: Output[Dataset]):
    """The data set as CSV, in the original units."""
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame.to_csv(patients.path, index=False)
    patients.metadata["rows"] = len(frame)


@dsl.component(base_image=IMAGE)
def make_grid(alphas: list[float], degrees: list[int]) -> list[dict]:
    """Every combination of the settings."""
    return [{"alpha": alpha, "degree": degree} for degree in degrees for alpha in alphas]


@dsl.component(base_image=IMAGE, packages_to_install=PACKAGES)
def fit(alpha: float, degree: int, patients: Input[Dataset], metrics: Output[Metrics]) -> dict:
    """Cross-validate one setting; error in the units of the target."""
    import pandas as pd
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    frame = pd.read_csv(patients.path)
    model = make_pipeline(StandardScaler(), PolynomialFeatures(degree, include_bias=False), Ridge(alpha=alpha))
    errors = -cross_val_score(
        model, frame.drop(columns="target"), frame["target"], cv=5, scoring="neg_root_mean_squared_error"
    )
    error = round(float(errors.mean()), 4)
    metrics.log_metric("rmse", error)
    return {"alpha": alpha, "degree": degree, "rmse": error}


@dsl.component(base_image=IMAGE)
def compare(results: list[dict], chart: Output[HTML]) -> dict:
    """The best setting, and a chart of all of them."""
    best = min(results, key=lambda result: result["rmse"])
    worst = max(result["rmse"] for result in results)
    bars = []
    for row, result in enumerate(sorted(results, key=lambda result: result["rmse"])):
        width = 300 * result["rmse"] / worst
        label = f"degree {result['degree']}, alpha {result['alpha']:g}"
        y = 10 + 22 * row
        bars.append(f'<rect x="150" y="{y}" width="{width:.1f}" height="16" fill="#4878a8"/>')
        bars.append(f'<text x="145" y="{y + 12}" text-anchor="end">{label}</text>')
        bars.append(f'<text x="{155 + width:.1f}" y="{y + 12}">{result["rmse"]:.2f}</text>')
    height = 20 + 22 * len(results)
    with open(chart.path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="540" height="{height}" font-size="12">')
        file.write("".join(bars) + "</svg>")
    return best


@dsl.pipeline(name="diabetes-sweep", description="A grid of ridge regressions, compared by cross-validation.")
def diabetes_sweep(
    alphas: list[float] = [0.1, 1.0, 10.0, 100.0],  # noqa: B006 - kfp wants the default here, and copies it
    degrees: list[int] = [1, 2],  # noqa: B006
) -> NamedTuple("Outputs", [("best", dict), ("chart", HTML)]):
    patients = load_patients()
    grid = make_grid(alphas=alphas, degrees=degrees)
    with dsl.ParallelFor(grid.output, parallelism=4) as setting:
        fitted = fit(alpha=setting.alpha, degree=setting.degree, patients=patients.outputs["patients"])
    compared = compare(results=dsl.Collected(fitted.outputs["Output"]))
    outputs = NamedTuple("Outputs", [("best", dict), ("chart", HTML)])
    return outputs(best=compared.outputs["Output"], chart=compared.outputs["chart"])
