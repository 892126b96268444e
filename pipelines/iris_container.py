"""A container pipeline: Python writes a table, two containers work on it with sh, sort and awk.

Data: scikit-learn's iris set. The containers need Docker or Podman; ``--containers subprocess`` runs their commands
on this machine instead, which any Unix can do.
"""

from kfp import dsl
from kfp.dsl import ContainerSpec, Dataset, Input, Output

IMAGE = "python:3.11"
ALPINE = "alpine:3.20"


@dsl.component(base_image=IMAGE, packages_to_install=["scikit-learn==1.9.1"])
def load_flowers(flowers: Output[Dataset]):
    """Species and petal length in centimetres, one flower a line, separated by a tab."""
    from sklearn.datasets import load_iris

    data = load_iris()
    with open(flowers.path, "w") as file:
        for species, row in zip(data.target, data.data):
            file.write(f"{data.target_names[species]}\t{row[2]:.1f}\n")


@dsl.container_component
def longest(flowers: Input[Dataset], top: Output[Dataset], count: int):
    """The flowers with the longest petals."""
    script = 'mkdir -p "$(dirname "$1")" && sort -t "$(printf "\\t")" -k2,2nr -k1,1 "$0" | head -n "$2" > "$1"'
    return ContainerSpec(image=ALPINE, command=["sh", "-ec", script], args=[flowers.path, top.path, count])


@dsl.container_component
def mean_by_species(flowers: Input[Dataset], table: Output[Dataset], means: dsl.OutputPath(str)):
    """Mean petal length of each species, as a table and as one line of text."""
    script = """
mkdir -p "$(dirname "$1")" "$(dirname "$2")"
awk -F '\\t' '{ sum[$1] += $2; n[$1]++ } END { for (s in sum) printf "%s\\t%.3f\\n", s, sum[s] / n[s] }' "$0" |
  sort > "$1"
awk -F '\\t' '{ printf "%s%s %s", (NR > 1 ? ", " : ""), $1, $2 }' "$1" > "$2"
"""
    return ContainerSpec(image=ALPINE, command=["sh", "-ec", script], args=[flowers.path, table.path, means])


@dsl.pipeline(name="iris-container", description="A table made by Python, worked on by containers with sh and awk.")
def iris_container(count: int = 5) -> str:
    flowers = load_flowers()
    longest(flowers=flowers.outputs["flowers"], count=count)
    means = mean_by_species(flowers=flowers.outputs["flowers"])
    return means.outputs["means"]
