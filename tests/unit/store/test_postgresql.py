"""What is PostgreSQL's own: the network, passwords, rights, other tenants of the database."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from mlplatform.core.errors import InvalidInput, StoreError, Unsupported
from mlplatform.core.records import Batch
from mlplatform.store import open_store
from mlplatform.store.schema import NEWEST
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.unit.store.records import DOCUMENT, run, task


def test_urls(postgres: PostgresServer) -> None:
    url = postgres.url(postgres.new_schema())
    store = open_store(url)
    store.create_run(run(), DOCUMENT)
    store.close()
    for scheme in ("postgres", "postgresql+psycopg", "PostgreSQL"):
        again = open_store(url.replace("postgresql", scheme, 1))
        assert again.get_run("run000001") == run()
        again.close()


def test_a_password_is_told_nobody(postgres: PostgresServer) -> None:
    secrets = (PASSWORD, "wr0ng/pa:ss", "wr0ng", "pa%3Ass")
    good = postgres.url()
    urls = [
        postgres.url(password="wr0ng/pa:ss"),
        postgres.url(database="nothing"),
        good.replace(str(postgres.port), "1"),
        "postgresql://mlp:wr0ng/pa:ss@127.0.0.1/x",
        "postgresql://mlp:wr0ng%zz@127.0.0.1/x",
        "postgresql://mlp:12/wr0ng@127.0.0.1/x",
        "postgresql://mlp:p@wr0ng@127.0.0.1/x",
        "postgresql://mlp:wr0ng@[::1/x",
    ]
    for url in urls:
        with pytest.raises((StoreError, InvalidInput)) as caught:
            open_store(url)
        told = f"{caught.value} {caught.value.__cause__} {caught.value.to_json()}"
        assert not [secret for secret in secrets if secret in told], told
        assert caught.value.hint


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Unsupported) as caught:
        open_store("postgresql://localhost/x")
    assert "pip install 'mlplatform[postgresql]'" in caught.value.hint


def test_a_server_that_is_restarted(postgres: PostgresServer) -> None:
    store = open_store(postgres.url(postgres.new_schema()))
    store.create_run(run(1), DOCUMENT)
    assert len(store.list_runs()) == 1
    postgres.stop()
    try:
        for call in (lambda: store.list_runs(), lambda: store.create_run(run(2), DOCUMENT)):
            with pytest.raises(StoreError) as caught:
                call()
            assert caught.value.retryable
            assert "server runs" in caught.value.hint
    finally:
        postgres.start()
    assert len(store.list_runs()) == 1
    store.create_run(run(2), DOCUMENT)
    postgres.stop()
    postgres.start()
    store.create_run(run(3), DOCUMENT)  # the connection is found dead and opened again
    assert len(store.list_runs()) == 3
    store.close()


def test_a_connection_cut_within_a_transaction(postgres: PostgresServer) -> None:
    store = open_store(postgres.url(postgres.new_schema()))
    store.create_run(run(), DOCUMENT)
    batch = Batch("run000001", run(priority=1), tasks=[task("a")], events=[(1.0, "task", {})])

    def cut() -> None:
        with store._database.transaction() as to:
            to.run("UPDATE mlp_runs SET priority = 9")
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            )
            to.run("UPDATE mlp_runs SET priority = 10")

    with pytest.raises(StoreError):
        cut()
    assert store.get_run("run000001") == run()
    for _ in range(2):
        store.apply(batch)
    assert store.get_run("run000001") == replace(run(), priority=1)
    assert len(store.events()) == 2
    store.close()


def test_a_database_of_a_newer_version_is_refused(postgres: PostgresServer) -> None:
    schema = postgres.new_schema()
    open_store(postgres.url(schema)).close()
    postgres.execute(f"INSERT INTO {schema}.mlp_migrations VALUES ({NEWEST + 1}, 'future', 1)")
    with pytest.raises(StoreError, match="newer mlplatform") as caught:
        open_store(postgres.url(schema))
    assert "--upgrade" in caught.value.hint


def test_a_user_without_rights(postgres: PostgresServer) -> None:
    schema = postgres.new_schema()
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'", f"GRANT USAGE ON SCHEMA {schema} TO guest")
    url = postgres.url(schema, password="guest").replace("//mlp:", "//guest:")
    with pytest.raises(StoreError, match="permission denied") as caught:
        open_store(url)
    assert "right to create tables" in caught.value.hint


def test_a_database_in_another_encoding(postgres: PostgresServer) -> None:
    postgres.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(StoreError, match="encoded in LATIN1") as caught:
        open_store(postgres.url(database="latin"))
    assert "UTF8" in caught.value.hint


def test_it_shares_a_database_with_tables_of_mlflow(postgres: PostgresServer) -> None:
    schema = postgres.new_schema()
    postgres.execute(*(f"CREATE TABLE {schema}.{name} (x int)" for name in ("runs", "experiments", "tags", "metrics")))
    store = open_store(postgres.url(schema))
    store.create_run(run(), DOCUMENT)
    assert store.find_run("latest") == run()
    store.close()


def test_commits_wait_for_the_disk(postgres: PostgresServer) -> None:
    postgres.execute("ALTER ROLE mlp SET synchronous_commit = off")
    try:
        store = open_store(postgres.url(postgres.new_schema()))
        with store._database.transaction() as to:
            assert to.rows("SHOW synchronous_commit") == [("on",)]
        store.close()
    finally:
        postgres.execute("ALTER ROLE mlp RESET synchronous_commit")
