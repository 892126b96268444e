"""Pipelines to break, and where the conformance documents are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]

STRING = {"parameterType": "STRING"}
INTEGER = {"parameterType": "NUMBER_INTEGER"}
DATASET = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}

DOCUMENT: dict[str, Any] = {
    "pipelineInfo": {"name": "two-tasks"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
    "components": {
        "comp-make": {
            "executorLabel": "exec-make",
            "inputDefinitions": {"parameters": {"n": INTEGER, "note": {**STRING, "isOptional": True}}},
            "outputDefinitions": {"parameters": {"Output": INTEGER}, "artifacts": {"data": DATASET}},
        },
        "comp-use": {
            "executorLabel": "exec-use",
            "inputDefinitions": {"parameters": {"n": INTEGER}, "artifacts": {"data": DATASET}},
        },
        "comp-loop": {
            "inputDefinitions": {"parameters": {"item": INTEGER}},
            "outputDefinitions": {"parameters": {"made": {"parameterType": "LIST"}}},
            "dag": {
                "tasks": {
                    "make": {
                        "componentRef": {"name": "comp-make"},
                        "inputs": {"parameters": {"n": {"componentInputParameter": "item"}}},
                    }
                },
                "outputs": {
                    "parameters": {
                        "made": {"valueFromParameter": {"producerSubtask": "make", "outputParameterKey": "Output"}}
                    }
                },
            },
        },
    },
    "deploymentSpec": {
        "executors": {
            "exec-make": {
                "container": {
                    "image": "alpine",
                    "command": ["echo", "{{$.inputs.parameters['n']}}"],
                    "args": [
                        '{"IfPresent": {"InputName": "note", "Then": ["--note", "{{$.inputs.parameters[\'note\']}}"]}}'
                    ],
                    "env": [{"name": "OUT", "value": "{{$.outputs.artifacts['data'].path}}"}],
                }
            },
            "exec-use": {"container": {"image": "alpine", "command": ["cat", "{{$.inputs.artifacts['data'].path}}"]}},
        }
    },
    "root": {
        "inputDefinitions": {"parameters": {"n": {**INTEGER, "defaultValue": 3.0, "isOptional": True}, "flag": STRING}},
        "outputDefinitions": {"parameters": {"result": INTEGER}},
        "dag": {
            "outputs": {
                "parameters": {
                    "result": {"valueFromParameter": {"producerSubtask": "make", "outputParameterKey": "Output"}}
                }
            },
            "tasks": {
                "make": {
                    "componentRef": {"name": "comp-make"},
                    "taskInfo": {"name": "make"},
                    "cachingOptions": {"enableCache": True},
                    "inputs": {
                        "parameters": {
                            "n": {"componentInputParameter": "n"},
                            "note": {"runtimeValue": {"constant": "n is {{$.inputs.parameters['n']}}"}},
                        }
                    },
                },
                "use": {
                    "componentRef": {"name": "comp-use"},
                    "dependentTasks": ["make"],
                    "retryPolicy": {"maxRetryCount": 2, "backoffDuration": "1.5s", "backoffFactor": 2.0},
                    "triggerPolicy": {"condition": "inputs.parameter_values['n'] == 3"},
                    "inputs": {
                        "parameters": {
                            "n": {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "Output"}}
                        },
                        "artifacts": {
                            "data": {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "data"}}
                        },
                    },
                },
                "loop": {
                    "componentRef": {"name": "comp-loop"},
                    "iteratorPolicy": {"parallelismLimit": 2},
                    "parameterIterator": {"itemInput": "item", "items": {"raw": "[1, 2, 3]"}},
                },
            },
        },
    },
}


@pytest.fixture
def document() -> dict[str, Any]:
    """A valid pipeline with a chain, a condition, a loop, placeholders; the test may change it."""
    return json.loads(json.dumps(DOCUMENT))


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of the conformance cases for pipelines."""
    given = os.environ.get("MLPLATFORM_CONFORMANCE")
    root = Path(given) if given else REPOSITORY.parent / "shared" / "conformance"
    for folder in (root, root / "kfp"):
        if (folder / "cases.json").is_file() and (folder / "ir").is_dir():
            return folder
    pytest.skip(f"no conformance cases in {root}: set MLPLATFORM_CONFORMANCE to their folder")
