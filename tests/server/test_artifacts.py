"""Artifacts: what is shown of them, and that their bytes can do nothing here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.model import Artifact, RunRecord, TaskKey, TaskRecord, Values
from mlplatform.core.records import Batch
from mlplatform.core.states import RunState, TaskState
from mlplatform.store import open_store
from mlplatform.store.writes import document_digest
from tests.support.pipelines import chain
from tests.support.server import Served

RUN = "1m8ck7xgd7adfes99j"


@pytest.fixture(scope="module")
def place(served: Served) -> Path:
    """A folder with the artifacts that a run made."""
    folder = served.home.root / "artifacts" / RUN
    (folder / "report" / "css").mkdir(parents=True)
    (folder / "report" / "index.html").write_text("<link rel=stylesheet href=css/a.css><script>1</script>")
    (folder / "report" / "css" / "a.css").write_text("b { color: red }")
    (folder / "report" / "out").symlink_to(served.home.root / "server")
    (folder / "page").write_text("<script>fetch('/api/v1/runs')</script>")
    (folder / "table").write_text("a,b\n1,2\n3,4\n")
    types = {"report": "system.Artifact", "page": "system.HTML", "table": "system.Dataset"}
    made: dict[str, Any] = {name: Artifact(name, str(folder / name), type_) for name, type_ in types.items()}
    document = chain(1).text().encode()
    store = open_store(str(served.home.root / "store.db"))
    run = RunRecord(RUN, "made", "chain", RunState.PENDING, document_digest(document), created_at=1000.0)
    store.create_run(run, document)
    task = TaskRecord(TaskKey(("t0",)), TaskState.SUCCEEDED, "comp-t0", attempt=1, outputs=Values({}, made))
    store.apply(Batch(RUN, tasks=[task]))
    store.close()
    return folder


def test_a_list_and_its_pages(served: Served, place: Path) -> None:
    first = served.get("/api/v1/artifacts", run=RUN, limit=2)
    rest = served.get("/api/v1/artifacts", run=RUN, limit=2, cursor=first["next_cursor"])
    assert [one["name"] for one in first["artifacts"] + rest["artifacts"]] == ["page", "report", "table"]
    assert rest["next_cursor"] == ""
    assert [one["name"] for one in served.get("/api/v1/artifacts", type="system.HTML")["artifacts"]] == ["page"]


def test_a_table_is_shown(served: Served, place: Path) -> None:
    shown = served.get("/api/v1/artifacts/preview", uri=str(place / "table"))
    assert (shown["kind"], shown["columns"], shown["rows"]) == ("table", ["a", "b"], [["1", "2"], ["3", "4"]])
    assert shown["total"] == 2


def test_a_page_is_sandboxed_and_reaches_nothing(served: Served, place: Path) -> None:
    shown = served.get("/api/v1/artifacts/preview", uri=str(place / "page"))
    assert shown["kind"] == "html"
    nobody = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "cross-site"}  # a frame without our origin
    answer = served.ask("GET", "/" + shown["url"], headers=nobody)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "connect-src 'none'" in policy
    assert answer.headers["content-type"].startswith("text/html")


def test_a_folder_is_a_tree_whose_pages_find_their_files(served: Served, place: Path) -> None:
    shown = served.get("/api/v1/artifacts/preview", uri=str(place / "report"))
    entries = {entry["path"]: entry["url"] for entry in shown["entries"]}
    assert set(entries) == {"index.html", "css/a.css"}
    page = "/" + entries["index.html"]
    assert served.ask("GET", page).headers["content-type"].startswith("text/html")
    beside = served.ask("GET", page.removesuffix("index.html") + "css/a.css")
    assert (beside.status, beside.headers["content-type"]) == (200, "text/css; charset=utf-8")
    for out in ("out/token", "../page", "..%2f..%2f..%2fserver%2ftoken", "%2fetc%2fpasswd", "css"):
        answer = served.ask("GET", page.removesuffix("index.html") + out)
        assert answer.status == 404, out
        assert served.token.encode() not in answer.body


def test_an_address_is_good_for_one_artifact_only(served: Served, place: Path) -> None:
    detail = served.get("/api/v1/artifacts/detail", uri=str(place / "table"))
    assert detail["made_by"] == [{"run_id": RUN, "task": "t0", "iteration": []}]
    assert detail["exists"] is True
    _, _, _, word, where, _ = detail["content"].split("/", 5)
    other = served.get("/api/v1/artifacts/detail", uri=str(place / "page"))["content"].split("/")[4]
    assert served.ask("GET", f"/api/v1/content/{word}/{where}/table").status == 200
    assert served.ask("GET", f"/api/v1/content/{word}/{other}/table").status == 404
    assert served.ask("GET", f"/api/v1/content/{word}x/{where}/table").status == 404
    saved = served.ask("GET", "/" + detail["raw"])
    assert "attachment" in saved.headers["content-disposition"]
    assert saved.body == b"a,b\n1,2\n3,4\n"


def test_only_what_runs_made_or_used_has_an_address(served: Served, place: Path) -> None:
    for uri in ("/etc/passwd", str(served.home.root / "server" / "token"), f"{place}/table/../page"):
        for what in ("detail", "preview"):
            assert served.ask("GET", f"/api/v1/artifacts/{what}", query={"uri": uri}).status == 404
