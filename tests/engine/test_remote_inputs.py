"""Importers of remote URIs pass references; a task that asks for the path of one gets a local copy."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.home import TestHome, home_in, states
from tests.support.pipelines import Builder
from tests.support.s3_server import s3_server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    """A home whose client knows an S3 server with one bucket."""
    folder = tmp_path_factory.mktemp("remote")
    with s3_server(folder / "s3") as server:
        bucket = server.folder / "data"
        (bucket / "tree" / "deep").mkdir(parents=True)
        (bucket / "words.txt").write_text("from the bucket")
        (bucket / "tree" / "a.txt").write_text("a")
        (bucket / "tree" / "deep" / "b.txt").write_text("b")
        with home_in(folder / "project", **server.environment()) as home:
            yield home


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """(address of a web server, the paths it was asked for)."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "table.csv").write_text("a,b\n1,2\n3,4\n")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def imported(name: str, uri: str, body: str) -> Builder:
    """An importer, and a task that takes its artifact and returns a text."""
    builder = Builder(name)
    artifact = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    builder.components["comp-importer"] = {
        "executorLabel": "exec-importer",
        "inputDefinitions": {"parameters": {"uri": {"parameterType": "STRING"}}},
        "outputDefinitions": {"artifacts": {"artifact": artifact}},
    }
    builder.executors["exec-importer"] = {
        "importer": {"artifactUri": {"constant": uri}, "typeSchema": artifact["artifactType"]}
    }
    builder.task("importer", constants={"uri": uri})
    source = "def read(data: Input[Dataset]) -> str:\n" + "".join(f"    {line}\n" for line in body.splitlines())
    builder.component("read", source, artifacts_in={"data": "system.Dataset"}, outputs={"Output": "STRING"})
    builder.task("read", artifacts={"data": ("importer", "artifact")}, cache=True)
    builder.output("text", "read", "Output", "STRING")
    return builder


OPENED = "return open(data.path).read() + ' ' + open(data.path).read()[:4]"


def test_an_object_of_a_bucket_is_there_when_it_is_opened(home: TestHome) -> None:
    builder = imported("object", "s3://data/words.txt", OPENED)
    for _ in range(2):  # what is there now is not known: it is never answered from the cache
        result = home.run(builder)
        assert result["state"] == "SUCCEEDED", result["error"]
        assert result["outputs"] == {"text": "from the bucket from"}
        assert states(result)["read"] == "SUCCEEDED"
        (task,) = [task for task in result["tasks"] if task["name"] == "importer"]
        assert task["outputs"]["artifact"]["uri"] == "s3://data/words.txt"
    assert list(home.root.rglob("words.txt")) == []


def test_a_prefix_of_a_bucket_is_a_folder(home: TestHome) -> None:
    body = (
        "import os\nfound = sorted(os.path.join(os.path.relpath(folder, data.path), name)\n"
        "               for folder, _, names in os.walk(data.path) for name in names)\nreturn ','.join(found)"
    )
    result = home.run(imported("tree", "s3://data/tree", body))
    assert result["outputs"] == {"text": "./a.txt,deep/b.txt"}, result["error"]


def test_a_page_is_fetched_once_and_only_if_it_is_opened(home: TestHome, web: tuple[str, list[str]]) -> None:
    url, asked = web
    result = home.run(imported("unopened", f"{url}/table.csv", "return data.uri"))
    assert result["outputs"] == {"text": f"{url}/table.csv"}
    assert asked == []
    body = "import pandas\nreturn str(pandas.read_csv(data.path)['b'].sum() + len(open(data.path).read()))"
    result = home.run(imported("opened", f"{url}/table.csv", body))
    assert result["outputs"] == {"text": "18"}, result["error"]
    assert asked == ["/table.csv"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [("s3://data/missing.txt", "there is no"), ("oci://models.example/m:1", "cannot be read or written here")],
)
def test_what_cannot_be_fetched_is_told_only_if_the_task_fails(home: TestHome, uri: str, words: str) -> None:
    name = uri.partition(":")[0]
    result = home.run(imported(f"{name}-path", uri, "return data.path"))
    assert result["state"] == "SUCCEEDED"
    assert result["outputs"]["text"].startswith(f"/{name}/")
    result = home.run(imported(f"{name}-open", uri, "return open(data.path).read()"))
    assert result["state"] == "FAILED"
    told = str(result["tasks"])
    assert "An input could not be fetched" in told
    assert words in told
