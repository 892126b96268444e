"""The planner alone, from start to end: ``python -m tests.bench.bench_planner``.

Prints one JSON object: medians of five in seconds for 10,000 tasks (the bound of issue 3 (f) is 2 s), and the ratio of
20,000 to 10,000 tasks (linear: about 2). Every leaf succeeds at once; conditions are evaluated, values collected.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections import deque
from collections.abc import Callable

from mlplatform.core.model import Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.model import ParameterIterator, Pipeline, PipelineTask
from mlplatform.planning.model import Decision, FinishRun, Limits, RunView, StartTask, TaskFact
from mlplatform.planning.planner import Planner
from tests.unit.planning.build import given, group, leaf, maybe, out, pipeline

TASKS = 10_000
LEAF = leaf({"x": maybe()})


def chain(tasks: int) -> Pipeline:
    """Each task takes the output of the one before it."""
    made = {f"t{n}": PipelineTask("c", parameters={"x": out(f"t{n - 1}")} if n else {}) for n in range(tasks)}
    return pipeline(group(made, outputs={"o": f"t{tasks - 1}.Output"}), c=LEAF)


def fan_out(tasks: int) -> Pipeline:
    """One loop over everything, collected."""
    body = group({"t": PipelineTask("c", parameters={"x": given("i")})}, {"i": maybe()}, {"o": "t.Output"})
    items = ParameterIterator("i", items_raw=json.dumps(list(range(tasks))))
    return pipeline(
        group({"l": PipelineTask("body", parameter_iterator=items)}, outputs={"o": "l.o"}), body=body, c=LEAF
    )


def nested(tasks: int) -> Pipeline:
    """Loops in loops with a limit and a condition in the innermost."""
    body = group({"t": PipelineTask("c", parameters={"x": given("i")})}, {"i": maybe()}, {"o": "t.Output"})
    guarded = PipelineTask("body", parameters={"i": given("i")}, condition="int(inputs.parameter_values['i']) >= 0")
    inner = group({"condition-1": guarded}, {"i": maybe()}, {"o": "condition-1.o"})
    hundred = ParameterIterator("i", items_raw=json.dumps(list(range(100))))
    middle = group({"m": PipelineTask("inner", parameter_iterator=hundred)}, {"j": maybe()}, {"o": "m.o"})
    rest = ParameterIterator("j", items_raw=json.dumps(list(range(tasks // 100))))
    task = PipelineTask("middle", parameter_iterator=rest, parallelism_limit=10)
    return pipeline(group({"l": task}, outputs={"o": "l.o"}), body=body, inner=inner, middle=middle, c=LEAF)


def drive(made: Pipeline) -> int:
    """Run to the end, one fact at a time (the most expensive way); returns how many tasks ran."""
    planner = Planner(made, RunView("r", "j"), Limits())
    waiting: deque[StartTask] = deque()

    def take(decision: Decision) -> bool:
        waiting.extend(action for action in decision.actions if isinstance(action, StartTask))
        last = decision.actions[-1] if decision.actions else None
        return isinstance(last, FinishRun) and last.state is RunState.SUCCEEDED

    ended, ran = take(planner.advance((), 0.0)), 0
    while waiting:
        start = waiting.popleft()
        ran += 1
        fact = TaskFact(start.key, TaskState.SUCCEEDED, start.attempt, outputs=Values({"Output": ran}))
        ended = take(planner.advance((fact,), 0.0))
    if not ended:
        raise AssertionError("the run did not succeed")
    return ran


def seconds(make: Callable[[int], Pipeline], tasks: int, rounds: int = 5) -> float:
    """Median seconds of a whole run, without building the document."""
    made = make(tasks)
    times: list[float] = []
    for _ in range(rounds):
        gc.collect()
        began = time.perf_counter()
        ran = drive(made)
        times.append(time.perf_counter() - began)
        if ran != tasks:
            raise AssertionError(f"{ran} of {tasks} tasks ran")
    return statistics.median(times)


def rebuilt(tasks: int) -> float:
    """Seconds to come back after a crash just before the end of a fan-out."""
    made = fan_out(tasks)
    planner = Planner(made, RunView("r", "j"), Limits())
    starts = [action for action in planner.advance((), 0.0).actions if isinstance(action, StartTask)]
    facts = {s.key: TaskFact(s.key, TaskState.SUCCEEDED, 1, outputs=Values({"Output": 1})) for s in starts[:-1]}
    began = time.perf_counter()
    Planner(made, RunView("r", "j", tasks=facts), Limits()).advance((), 0.0)
    return time.perf_counter() - began


def main() -> None:
    report: dict[str, object] = {"tasks": TASKS}
    for make in (chain, fan_out, nested):
        once, twice = seconds(make, TASKS), seconds(make, 2 * TASKS, 3)
        report[make.__name__] = {"seconds": round(once, 3), "ratio_20000_to_10000": round(twice / once, 2)}
    report["rebuilt_from_facts"] = round(rebuilt(TASKS), 3)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
