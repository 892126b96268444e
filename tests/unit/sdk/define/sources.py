"""Pipelines as text, one for each feature; the first line decides whose words they are written in.

``{dsl}`` is ``from kfp import dsl`` or ours; everything else is the same.
"""

from __future__ import annotations

from typing import Final

HEAD: Final = """
{dsl}
from typing import Dict, List, NamedTuple, Optional
Artifact, Dataset, Model, Metrics, HTML = dsl.Artifact, dsl.Dataset, dsl.Model, dsl.Metrics, dsl.HTML
Input, Output, InputPath, OutputPath = dsl.Input, dsl.Output, dsl.InputPath, dsl.OutputPath


@dsl.component
def add(a: int, b: int = 2) -> int:
    return a + b


@dsl.component
def half(x: float) -> float:
    return x / 2


@dsl.component
def say(text: str) -> str:
    return text


@dsl.component
def words(n: int) -> List[str]:
    return ["w"] * n


@dsl.component
def settings() -> List[Dict[str, int]]:
    return [{{"a": 1, "b": 2}}]


@dsl.component
def numbers() -> List[int]:
    return [1, 2]


@dsl.component
def total(values: List[int]) -> int:
    return sum(values)


@dsl.component
def make(data: Output[Dataset], rows: int = 3):
    open(data.path, "w").write("x" * rows)


@dsl.component
def train(data: Input[Dataset], model: Output[Model], metrics: Output[Metrics]) -> float:
    metrics.log_metric("acc", 0.5)
    return 0.5


@dsl.component
def judge(model: Input[Model]) -> bool:
    return True


@dsl.component
def compare(models: List[Model]) -> str:
    return str(len(models))


@dsl.component
def always() -> None:
    print("done")
"""

PIPELINES: Final = {
    "parameters": """
@dsl.pipeline(name="All kinds", description="Every type.", display_name="Kinds", pipeline_root="s3://bucket/root")
def p(
    a: int,
    b: float = 0.5,
    c: str = "x",
    d: bool = True,
    e: list = [1, "2"],
    f: dict = {"k": 1},
    g: Optional[str] = None,
):
    one = add(a=a)
    add(a=one.output, b=7)
    half(x=b)
    say(text=c)
""",
    "outputs": """
@dsl.pipeline
def p(a: int = 3) -> NamedTuple("Outputs", [("sum", int), ("model", Model)]):
    data = make()
    trained = train(data=data.outputs["data"])
    Outputs = NamedTuple("Outputs", [("sum", int), ("model", Model)])
    return Outputs(add(a=a).output, trained.outputs["model"])
""",
    "single output": """
@dsl.pipeline
def p(a: int) -> int:
    return add(a=a).output
""",
    "after and names": """
@dsl.pipeline
def p():
    one = add(a=1).set_display_name("The first")
    two = add(a=2).after(one)
    add(a=3).after(one, two).set_caching_options(False)
    add(a=4).set_caching_options(True, cache_key="mine")
""",
    "retry, env and resources": """
@dsl.pipeline
def p(cpu: str = "2"):
    task = add(a=1).set_retry(num_retries=3, backoff_duration="30s", backoff_factor=1.5, backoff_max_duration="600s")
    task.set_env_variable("MODE", "fast").set_cpu_request("500m").set_cpu_limit("2").set_memory_request("1Gi")
    task.set_memory_limit("4G").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
    add(a=2).set_retry(num_retries=1)
    add(a=3).set_container_image("python:3.12")
""",
    "resources that a run decides": """
@dsl.pipeline
def p(cpu: str = "2", image: str = "python:3.12"):
    add(a=1).set_cpu_limit(cpu).set_memory_limit(say(text="1Gi").output)
    add(a=2).set_container_image(image)
""",
    "conditions": """
@dsl.pipeline
def p(limit: int = 3, rate: float = 0.5, word: str = "yes", flag: bool = True):
    one = add(a=1)
    with dsl.If(one.output > limit):
        add(a=one.output)
    with dsl.If(one.output == 5, "five"):
        say(text=word)
    with dsl.If(rate < 1):
        half(x=rate)
    with dsl.If(one.output >= 2.5):
        half(x=rate)
    with dsl.If(word != "no"):
        say(text="nested")
        with dsl.If(flag == True):
            say(text=word)
""",
    "if, elif, else and one of": """
@dsl.pipeline
def p(n: int = 3) -> str:
    one = add(a=n)
    with dsl.If(one.output > 10):
        big = say(text="big")
    with dsl.Elif(one.output > 5):
        middle = say(text="middle")
    with dsl.Else():
        small = say(text="small")
    found = dsl.OneOf(big.output, middle.output, small.output)
    say(text=found)
    return found
""",
    "one of artifacts": """
@dsl.pipeline
def p(n: int = 3) -> Dataset:
    with dsl.If(n > 1):
        one = make(rows=1)
    with dsl.Else():
        two = make(rows=2)
    found = dsl.OneOf(one.outputs["data"], two.outputs["data"])
    train(data=found)
    return found
""",
    "loops over constants": """
@dsl.pipeline
def p(b: int = 2):
    with dsl.ParallelFor([1, 2, 3]) as item:
        add(a=item, b=b)
    with dsl.ParallelFor([{"a": 1, "b": 2}, {"a": 3, "b": 4}], parallelism=2, name="pairs") as pair:
        add(a=pair.a, b=pair.b)
    with dsl.ParallelFor(["x", "y"]) as word:
        say(text=word)
""",
    "loops over what a run gives": """
@dsl.pipeline
def p(names: List[str] = ["a", "b"]):
    with dsl.ParallelFor(names) as name:
        say(text=name)
    with dsl.ParallelFor(words(n=3).output, parallelism=1) as word:
        say(text=word)
    with dsl.ParallelFor(settings().output) as setting:
        add(a=setting.a, b=setting.b)
""",
    "nested loops": """
@dsl.pipeline
def p(names: List[int] = [1, 2]):
    with dsl.ParallelFor(names) as outer:
        first = add(a=outer)
        with dsl.ParallelFor(numbers().output) as inner:
            add(a=inner, b=outer)
            add(a=first.output, b=inner)
            with dsl.If(inner > 1):
                add(a=outer, b=inner)
""",
    "collected": """
@dsl.pipeline
def p() -> List[int]:
    with dsl.ParallelFor([1, 2]) as item:
        one = add(a=item)
    total(values=dsl.Collected(one.output))
    return dsl.Collected(one.output)
""",
    "collected artifacts, nested": """
@dsl.pipeline
def p() -> str:
    with dsl.ParallelFor([1, 2]) as rows:
        data = make(rows=rows)
        with dsl.ParallelFor([3, 4]) as more:
            trained = train(data=data.outputs["data"])
    return compare(models=dsl.Collected(trained.outputs["model"])).output
""",
    "exit handler": """
@dsl.component
def report(status: dsl.PipelineTaskFinalStatus, word: str = "x") -> None:
    print(status.state)


@dsl.pipeline
def p(word: str = "w"):
    with dsl.ExitHandler(report(word=word), name="guard"):
        one = add(a=1)
        add(a=one.output)
    say(text="beside")
""",
    "failures ignored": """
@dsl.component
def watch(status: dsl.PipelineTaskFinalStatus, value: int = 0) -> str:
    return status.state


@dsl.pipeline
def p():
    one = add(a=1)
    watch(value=one.output).ignore_upstream_failure()
""",
    "texts with values in them": """
@dsl.pipeline
def p(who: str = "you", n: int = 2):
    one = say(text=f"hello {who}, {n} times")
    say(text=f"{one.output}!")
    with dsl.ParallelFor(["a", "b"]) as item:
        say(text=f"{item}-{who}-{one.output}")
""",
    "placeholders of the run": """
@dsl.pipeline
def p():
    say(text=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    say(text="at " + dsl.PIPELINE_ROOT_PLACEHOLDER + "/" + dsl.PIPELINE_TASK_NAME_PLACEHOLDER)
""",
    "importer": """
@dsl.pipeline
def p(uri: str = "s3://bucket/data"):
    told = {"k": [1, "two"]}
    first = dsl.importer(artifact_uri="s3://bucket/x", artifact_class=Dataset, reimport=True, metadata=told)
    second = dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"from": uri})
    train(data=first.output)
    train(data=second.output)
""",
    "containers": """
@dsl.container_component
def copy(source: Input[Dataset], target: Output[Dataset], text: str, size: OutputPath(int), prefix: str = "p"):
    return dsl.ContainerSpec(
        image="alpine:3.20",
        command=["sh", "-c", "cp $0 $1", source.path, target.uri],
        args=[
            text,
            size,
            dsl.ConcatPlaceholder(["--prefix=", prefix]),
            dsl.IfPresentPlaceholder(input_name="prefix", then=["--with", prefix], else_=["--without"]),
            source.metadata["rows"],
        ],
    )


@dsl.container_component
def nothing():
    return dsl.ContainerSpec(image="alpine:3.20", command=["true"])


@dsl.pipeline
def p() -> int:
    nothing()
    data = make()
    return copy(source=data.outputs["data"], text="t").outputs["size"]
""",
    "paths": """
@dsl.component
def write(text: str, out: OutputPath(str), data: OutputPath("Dataset")):
    open(out, "w").write(text)


@dsl.component
def read(data: InputPath("Dataset")) -> str:
    return open(data).read()


@dsl.pipeline
def p() -> str:
    written = write(text="t")
    read(data=written.outputs["data"])
    return written.outputs["out"]
""",
    "packages": """
@dsl.component(
    base_image="python:3.12",
    packages_to_install=["numpy==2.0", "pandas"],
    pip_index_urls=["https://one/simple", "https://two/simple"],
    pip_trusted_hosts=["one"],
    use_venv=True,
)
def heavy() -> int:
    return 1


@dsl.component(install_kfp_package=False)
def bare() -> int:
    return 1


@dsl.pipeline
def p():
    heavy()
    bare()
""",
    "pipelines in pipelines": """
@dsl.pipeline
def inner(a: int = 1) -> int:
    with dsl.If(a > 2):
        add(a=a)
    return add(a=add(a=a).output).output


@dsl.pipeline
def p(n: int = 4) -> int:
    one = inner(a=n)
    with dsl.ParallelFor([1, 2]) as item:
        inner(a=item)
    return add(a=one.output).output
""",
    "optional artifacts": """
@dsl.component
def maybe(data: Optional[Input[Dataset]] = None, text: Optional[str] = None) -> str:
    return "x"


@dsl.pipeline
def inner(data: Optional[Input[Dataset]] = None) -> str:
    return maybe(data=data).output


@dsl.pipeline
def p(data: Input[Dataset]):
    maybe()
    maybe(data=data, text="t")
    inner()
    inner(data=data)
""",
    "workspace": """
@dsl.pipeline(
    pipeline_config=dsl.PipelineConfig(
        workspace=dsl.WorkspaceConfig(
            size="1Gi",
            kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={"accessModes": ["ReadWriteOnce"]}),
        ),
        ttl_seconds_after_finished=60,
    )
)
def p():
    say(text=dsl.WORKSPACE_PATH_PLACEHOLDER)
""",
    "loops over artifacts": """
@dsl.pipeline
def several(limit: int = 2) -> List[Dataset]:
    with dsl.ParallelFor([1, 2]) as rows:
        data = make(rows=rows)
    return dsl.Collected(data.outputs["data"])


@dsl.pipeline
def p() -> str:
    with dsl.ParallelFor(several().output) as one:
        trained = train(data=one)
    return compare(models=dsl.Collected(trained.outputs["model"])).output
""",
    "lists with values in them": """
@dsl.component
def many(values: List[str], table: dict) -> str:
    return "x"


@dsl.pipeline
def p(who: str = "you"):
    many(values=["a", who, f"{who}!"], table={"who": who, "n": 1})
""",
}
