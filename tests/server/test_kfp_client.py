"""The stock ``kfp.Client``, as it comes from PyPI, against a real server that runs real pipelines.

No annotations from the future here: kfp reads the real ones.
"""

import datetime
import json
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import pytest
from kfp import compiler, dsl

from tests.support.server import Served

LONG = 300


@dsl.component
def add(a: int, b: int) -> int:
    return a + b


@dsl.component
def fail(message: str):
    raise ValueError(message)


@dsl.component
def sleep(seconds: float):
    import time

    time.sleep(seconds)


@dsl.pipeline(name="sums", description="Adds numbers.")
def sums(a: int = 1, b: int = 2) -> int:
    first = add(a=a, b=b)
    return add(a=first.output, b=10).output


@dsl.pipeline(name="breaks")
def breaks(message: str = "no"):
    fail(message=message)


@dsl.pipeline(name="lingers")
def lingers(seconds: float = 60.0):
    sleep(seconds=seconds)


@pytest.fixture(scope="module")
def client(served: Served, tmp_path_factory: pytest.TempPathFactory) -> kfp.Client:
    kfp.Client._LOCAL_KFP_CONTEXT = str(tmp_path_factory.mktemp("kfp") / "context.json")
    return kfp.Client(host=served.url)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("package") / "sums.yaml")
    compiler.Compiler().compile(sums, path)
    return path


def equals(key: str, value: str, *, camel: bool = True, number: bool = True) -> str:
    operation: Any = 1 if number else "EQUALS"
    name = "stringValue" if camel else "string_value"
    return json.dumps({"predicates": [{"operation": operation, "key": key, name: value}]})


def test_health(client: kfp.Client) -> None:
    health = client.get_kfp_healthz()
    assert (health.multi_user, health.pipeline_store) == (False, "database")


def test_a_token_works_as_well_and_a_wrong_one_is_not_looked_at(served: Served) -> None:
    assert kfp.Client(host=served.url, existing_token=served.token).list_experiments() is not None


def test_experiments(client: kfp.Client) -> None:
    made = client.create_experiment("vision", description="pictures")
    assert (made.display_name, made.description, made.storage_state) == ("vision", "pictures", "AVAILABLE")
    assert client.create_experiment("vision").experiment_id == made.experiment_id
    assert client.get_experiment(experiment_id=made.experiment_id).display_name == "vision"
    assert client.get_experiment(experiment_name="vision").experiment_id == made.experiment_id
    client.archive_experiment(made.experiment_id)
    assert client.get_experiment(experiment_id=made.experiment_id).storage_state == "ARCHIVED"
    client.unarchive_experiment(made.experiment_id)
    for name in ("b", "a", "c"):
        client.create_experiment(f"sorted-{name}")
    names = json.dumps({"predicates": [{"operation": 9, "key": "name", "stringValue": "sorted-"}]})
    first = client.list_experiments(page_size=2, sort_by="display_name desc", filter=names)
    assert [one.display_name for one in first.experiments] == ["sorted-c", "sorted-b"]
    assert first.total_size == 3
    rest = client.list_experiments(
        page_token=first.next_page_token, page_size=2, sort_by="display_name desc", filter=names
    )
    assert [one.display_name for one in rest.experiments] == ["sorted-a"]
    assert not rest.next_page_token
    client.delete_experiment(rest.experiments[0].experiment_id)
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.get_experiment(experiment_id=rest.experiments[0].experiment_id)
    assert caught.value.status == 404
    with pytest.raises(ValueError, match="No experiment"):
        client.get_experiment(experiment_name="sorted-a")


def test_pipelines_and_versions(client: kfp.Client, package: str) -> None:
    made = client.upload_pipeline(package, pipeline_name="my sums", description="first")
    assert (made.display_name, made.description) == ("my sums", "first")
    assert client.get_pipeline_id("my sums") == made.pipeline_id
    assert client.get_pipeline_id("no such") is None
    assert client.get_pipeline(made.pipeline_id).name == "my sums"
    version = client.upload_pipeline_version(package, "second", pipeline_id=made.pipeline_id, description="again")
    assert version.display_name == "second"
    named = client.upload_pipeline_version(package, "third", pipeline_name="my sums")
    found = client.list_pipeline_versions(made.pipeline_id, sort_by="created_at desc").pipeline_versions
    assert [one.display_name for one in found] == ["third", "second", "my sums"]
    got = client.get_pipeline_version(made.pipeline_id, version.pipeline_version_id)
    assert got.pipeline_spec["pipelineInfo"]["name"] == "sums"
    client.delete_pipeline_version(made.pipeline_id, named.pipeline_version_id)
    assert len(client.list_pipeline_versions(made.pipeline_id).pipeline_versions) == 2
    assert "my sums" in [one.name for one in client.list_pipelines(page_size=100).pipelines]
    with pytest.raises(kfp_server_api.ApiException, match="already"):
        client.upload_pipeline(package, pipeline_name="my sums")
    for one in client.list_pipeline_versions(made.pipeline_id).pipeline_versions:
        client.delete_pipeline_version(made.pipeline_id, one.pipeline_version_id)
    client.delete_pipeline(made.pipeline_id)
    assert client.get_pipeline_id("my sums") is None


def test_what_may_change_of_a_pipeline(client: kfp.Client, package: str) -> None:
    """KFP's own API for it: display name and tags, of a pipeline and of a version; the Client has no word for it."""
    made = client._upload_api.upload_pipeline(package, name="to change", tags='{"team": "vision"}')
    assert made.tags == {"team": "vision"}
    pipelines = client._pipelines_api
    body = kfp_server_api.InlineObject(display_name="changed", tags={"team": "sound", "stage": "old"})
    changed = pipelines.pipeline_service_update_pipeline(made.pipeline_id, body)
    assert (changed.name, changed.display_name, changed.tags) == (
        "to change",
        "changed",
        {"team": "sound", "stage": "old"},
    )
    assert client.get_pipeline_id("changed") == made.pipeline_id
    only = pipelines.pipeline_service_update_pipeline(made.pipeline_id, kfp_server_api.InlineObject(tags={}))
    assert (only.display_name, only.tags) == ("changed", None)
    (version,) = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
    body = kfp_server_api.InlineObject1(display_name="the first", tags={"good": ""})
    told = pipelines.pipeline_service_update_pipeline_version(made.pipeline_id, version.pipeline_version_id, body)
    assert (told.display_name, told.tags) == ("the first", {"good": ""})
    got = client.get_pipeline_version(made.pipeline_id, version.pipeline_version_id)
    assert (got.name, got.display_name, got.tags) == (version.name, "the first", {"good": ""})
    assert got.pipeline_spec["pipelineInfo"]["name"] == "sums"
    for pipeline, wrong, status in (("nothing", body, 404), (made.pipeline_id, {"tags": {"": "x"}}, 400)):
        with pytest.raises(kfp_server_api.ApiException) as caught:
            pipelines.pipeline_service_update_pipeline(pipeline, wrong)
        assert caught.value.status == status
    client._pipelines_api.pipeline_service_delete_pipeline(made.pipeline_id, cascade=True)


def test_a_package_that_is_no_pipeline_is_refused_with_its_findings(client: kfp.Client, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("pipelineInfo: {name: bad}\nroot: {dag: {tasks: {a: {}}}}\n")
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.upload_pipeline(str(tmp_path / "bad.yaml"), pipeline_name="bad")
    assert caught.value.status == 400
    assert "root.dag.tasks.a" in caught.value.body


def test_a_run_from_a_function_to_its_end(client: kfp.Client, served: Served, capsys: Any) -> None:
    result = client.create_run_from_pipeline_func(
        sums, arguments={"a": 5}, run_name="five and two", experiment_name="adding", enable_caching=False
    )
    assert f"{served.url}/#/runs/details/{result.run_id}" in capsys.readouterr().out
    run = result.wait_for_run_completion(timeout=LONG)
    assert (run.state, run.display_name) == ("SUCCEEDED", "five and two")
    assert run.runtime_config.parameters == {"a": 5, "b": 2}
    assert [one.state for one in run.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert isinstance(run.finished_at, datetime.datetime)
    assert {one.display_name: one.state for one in run.run_details.task_details} == {
        "add": "SUCCEEDED",
        "add-2": "SUCCEEDED",
    }
    assert served.get(f"/api/v1/runs/{run.run_id}")["outputs"] == {"Output": 17}
    assert client.get_experiment(experiment_name="adding").experiment_id == run.experiment_id
    assert client.get_run(run.run_id).pipeline_spec["pipelineInfo"]["name"] == "sums"


def test_a_run_of_a_version(client: kfp.Client, package: str) -> None:
    pipeline = client.upload_pipeline(package, pipeline_name="sums to run")
    version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    experiment = client.create_experiment("adding")
    run = client.run_pipeline(
        experiment.experiment_id,
        "by version",
        params={"b": 7},
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
    )
    ended = client.wait_for_run_completion(run.run_id, timeout=LONG, sleep_duration=1)
    assert ended.state == "SUCCEEDED"
    assert ended.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert ended.runtime_config.parameters == {"a": 1, "b": 7}


def test_a_run_that_cannot_be_is_refused(client: kfp.Client) -> None:
    with pytest.raises(kfp_server_api.ApiException, match=r"(?s)parameters\.a.*NUMBER_INTEGER"):
        client.create_run_from_pipeline_func(sums, arguments={"a": "many"})


def test_a_failure_is_told_and_can_be_retried(client: kfp.Client) -> None:
    result = client.create_run_from_pipeline_func(breaks, arguments={"message": "out of paint"})
    run = result.wait_for_run_completion(timeout=LONG)
    assert run.state == "FAILED"
    assert "out of paint" in run.error.message + str([one.error for one in run.run_details.task_details])
    client._run_api.run_service_retry_run(run.run_id)
    assert client.wait_for_run_completion(run.run_id, timeout=LONG, sleep_duration=1).state == "FAILED"


def test_terminate_archive_and_delete(client: kfp.Client, served: Served) -> None:
    run = client.create_run_from_pipeline_func(lingers, experiment_name="ending")
    client.terminate_run(run.run_id)
    assert served.finished(run.run_id)["state"] == "CANCELLED"
    assert client.get_run(run.run_id).state == "CANCELED"
    client.archive_run(run.run_id)
    assert client.get_run(run.run_id).storage_state == "ARCHIVED"
    archived = client.list_runs(filter=equals("storage_state", "ARCHIVED")).runs
    assert [one.run_id for one in archived] == [run.run_id]
    client.unarchive_run(run.run_id)
    assert (
        client.list_runs(filter=equals("storage_state", "ARCHIVED")).runs is None
        or not client.list_runs(filter=equals("storage_state", "ARCHIVED")).runs
    )
    client.delete_run(run.run_id)
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.get_run(run.run_id)
    assert caught.value.status == 404


def test_lists_of_runs(client: kfp.Client) -> None:
    for number in range(5):
        client.create_run_from_pipeline_func(sums, run_name=f"listed {number}", experiment_name="listing")
    runs = client.list_runs(page_size=100).runs
    for run in [one for one in runs if one.display_name.startswith("listed")]:
        client.wait_for_run_completion(run.run_id, timeout=LONG, sleep_duration=1)
    experiment = client.get_experiment(experiment_name="listing").experiment_id
    newest = client.list_runs(page_size=2, sort_by="created_at desc", experiment_id=experiment)
    assert [one.display_name for one in newest.runs] == ["listed 4", "listed 3"]
    assert newest.total_size == 5
    rest = client.list_runs(
        page_size=10, sort_by="created_at desc", experiment_id=experiment, page_token=newest.next_page_token
    )
    assert [one.display_name for one in rest.runs] == ["listed 2", "listed 1", "listed 0"]
    assert not rest.next_page_token
    for text in (
        equals("display_name", "listed 3"),
        equals("display_name", "listed 3", camel=False),
        equals("name", "listed 3", number=False),
    ):
        assert [one.display_name for one in client.list_runs(filter=text).runs] == ["listed 3"]
    some = {"predicates": [{"operation": "IN", "key": "display_name", "string_values": {"values": ["listed 1", "x"]}}]}
    assert [one.display_name for one in client.list_runs(filter=json.dumps(some)).runs] == ["listed 1"]
    after = newest.runs[1].created_at.isoformat()
    later = {
        "predicates": [
            {"operation": "GREATER_THAN", "key": "created_at", "timestampValue": after},
            {"operation": 9, "key": "name", "stringValue": "listed"},
            {"operation": 1, "key": "state", "stringValue": "SUCCEEDED"},
            {"operation": 1, "key": "experiment_id", "stringValue": experiment},
        ]
    }
    assert [one.display_name for one in client.list_runs(filter=json.dumps(later)).runs] == ["listed 4"]
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.list_runs(filter=equals("colour", "blue"))
    assert caught.value.status == 400
    by_name = client.list_runs(sort_by="display_name", experiment_id=experiment).runs
    assert [one.display_name for one in by_name] == [f"listed {number}" for number in range(5)]


def test_recurring_runs(client: kfp.Client, served: Served, package: str) -> None:
    experiment = client.create_experiment("again").experiment_id
    made = client.create_recurring_run(
        experiment, "every second", interval_second=1, pipeline_package_path=package, params={"a": 3}, max_concurrency=1
    )
    assert (made.display_name, made.mode, made.status) == ("every second", "ENABLE", "ENABLED")
    assert made.trigger.periodic_schedule.interval_second == "1"
    nightly = client.create_recurring_run(
        experiment,
        "nightly",
        description="at two",
        cron_expression="0 0 2 * * ?",
        start_time="2030-01-01T00:00:00Z",
        pipeline_package_path=package,
        no_catchup=True,
        enabled=False,
    )
    got = client.get_recurring_run(nightly.recurring_run_id)
    assert (got.trigger.cron_schedule.cron, got.no_catchup, got.status) == ("0 0 2 * * ?", True, "DISABLED")
    client.enable_recurring_run(nightly.recurring_run_id)
    assert client.get_recurring_run(nightly.recurring_run_id).status == "ENABLED"
    listed = client.list_recurring_runs(experiment_id=experiment, sort_by="created_at").recurring_runs
    assert [one.display_name for one in listed] == ["every second", "nightly"]

    def of_it() -> list[Any]:
        runs = client.list_runs(experiment_id=experiment, page_size=100).runs or []
        return [one for one in runs if one.recurring_run_id == made.recurring_run_id]

    import time

    end = time.monotonic() + LONG
    while len([one for one in of_it() if one.state == "SUCCEEDED"]) < 2:
        assert time.monotonic() < end, of_it()
        time.sleep(0.2)
    client.disable_recurring_run(made.recurring_run_id)
    assert of_it()[0].runtime_config.parameters == {"a": 3, "b": 2}
    client.delete_recurring_run(made.recurring_run_id)
    client.delete_recurring_run(nightly.recurring_run_id)
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.get_recurring_run(made.recurring_run_id)
    assert caught.value.status == 404
