"""Small pipelines, written down."""

from __future__ import annotations

import json
from typing import Any


def task(component: str = "comp-work", after: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"componentRef": {"name": component}, "taskInfo": {"name": "t"}}
    if after:
        found["dependentTasks"] = list(after)
    return found | more


def document(tasks: dict[str, Any], components: dict[str, Any] | None = None, **root: Any) -> str:
    """A pipeline of tasks that each run ``work``, whose output ``value`` is a number."""
    work = {
        "executorLabel": "exec-work",
        "inputDefinitions": {"parameters": {"word": {"parameterType": "STRING", "isOptional": True}}},
        "outputDefinitions": {"parameters": {"value": {"parameterType": "NUMBER_INTEGER"}}},
    }
    data = {
        "pipelineInfo": {"name": "small"},
        "schemaVersion": "2.1.0",
        "components": {"comp-work": work, **(components or {})},
        "deploymentSpec": {
            "executors": {"exec-work": {"container": {"image": "alpine", "command": ["work"], "args": ["{{$}}"]}}}
        },
        "root": {"dag": {"tasks": tasks}, **root},
    }
    return json.dumps(data)


def chain(length: int) -> str:
    return document({f"t{n:04d}": task(after=(f"t{n - 1:04d}",) if n else ()) for n in range(length)})


def group(tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"dag": {"tasks": tasks, **more}}


def loop(items: list[Any], **more: Any) -> dict[str, Any]:
    return task("comp-loop", parameterIterator={"itemInput": "item", "items": {"raw": json.dumps(items)}}, **more)


LOOP = {
    "comp-loop": {
        "dag": {
            "tasks": {
                "inside": task(inputs={"parameters": {"word": {"componentInputParameter": "item"}}}),
                "second": task(after=("inside",)),
            }
        },
        "inputDefinitions": {"parameters": {"item": {"parameterType": "STRING"}}},
    }
}

#: A chain, a loop, a condition on an output, a retry, and an exit task.
MIXED = document(
    {
        "first": task(),
        "loop": loop(["a", "b", "c"], dependentTasks=["first"]),
        "check": task(
            "comp-check",
            inputs={
                "parameters": {
                    "pipelinechannel--first-value": {
                        "taskOutputParameter": {"producerTask": "first", "outputParameterKey": "value"}
                    }
                }
            },
            dependentTasks=["first"],
            triggerPolicy={"condition": "int(inputs.parameter_values['pipelinechannel--first-value']) > 3"},
        ),
        "flaky": task(retryPolicy={"maxRetryCount": 3, "backoffDuration": "30s"}),
    },
    {
        **LOOP,
        "comp-check": {
            "dag": {"tasks": {"within": task()}},
            "inputDefinitions": {"parameters": {"pipelinechannel--first-value": {"parameterType": "NUMBER_INTEGER"}}},
        },
    },
)


#: Little of everything, for tests that play it again and again.
LITTLE = document(
    {
        "first": task(),
        "loop": loop(["a", "b", "c"], dependentTasks=["first"]),
        "flaky": task(retryPolicy={"maxRetryCount": 3, "backoffDuration": "30s"}),
    },
    {
        "comp-loop": {
            "dag": {"tasks": {"inside": task(inputs={"parameters": {"word": {"componentInputParameter": "item"}}})}},
            "inputDefinitions": {"parameters": {"item": {"parameterType": "STRING"}}},
        }
    },
)


def exit_handler(body: dict[str, Any]) -> str:
    return document(
        {
            "exit-handler-1": task("comp-exit-handler-1"),
            "clean": task(after=("exit-handler-1",), triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        },
        {"comp-exit-handler-1": group(body)},
    )
