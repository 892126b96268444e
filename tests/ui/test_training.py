"""Training jobs and the cluster: what is shown, that it is live, and by keys alone."""

from __future__ import annotations

import re
from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from mlplatform.apis.times import told_time
from mlplatform.kube.objects import Object
from mlplatform.ui import static_folder
from tests.support.kube.site import ClusterSite, cluster_site
from tests.support.kube.training import group, job
from tests.support.pages import Watched, broken_rules, entered

GPU = {"count": 2, "products": ["NVIDIA-A100-SXM4-80GB"]}


def with_gpus(name: str, replicas: int) -> Object:
    body = group(name, replicas, accelerator=GPU)
    container = body["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"nvidia.com/gpu": "2"}}
    return body


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[ClusterSite]:
    if static_folder() is None:
        pytest.skip("the pages are not built: make build")
    with cluster_site(tmp_path_factory.mktemp("training")) as found:
        for number in range(3):
            found.node(f"node-{number}", product="NVIDIA-A100-SXM4-80GB", count=4)
        found.node("node-9", spec={"unschedulable": True, "taints": [{"key": "maintenance", "effect": "NoSchedule"}]})
        found.quota()
        found.cluster.submit(job(name="done"))
        found.cluster.end_all()
        found.cluster.run()
        bert(found)
        found.cluster.submit(job(with_gpus("worker", 3), group("eval", 1, role="evaluator"), name="resnet"))
        found.cluster.room = 7
        found.cluster.submit(job(with_gpus("worker", 2), name="too-large"))
        yield found


def bert(site: ClusterSite) -> None:
    """A job with a past: a rank that ran out of memory, a restart, progress."""
    cluster = site.cluster
    body = cluster.submit(
        job(with_gpus("worker", 3), name="bert", failurePolicy={"backoffSeconds": 0, "maxRestarts": 3})
    )
    site.printed(body, "bert-worker-a1-1", "epoch 1 loss 0.9\nepoch 2 loss 0.7\nKilled\n")
    site.printed(body, "bert-worker-a2-0", "resumed at step 300\n" + "".join(f"step {n}\n" for n in range(300, 420)))
    cluster.run(100)
    saved = {"step": 310, "checkpointStep": 300, "checkpointTime": told_time(cluster.now)}
    site.report("bert", **saved)
    cluster.run(10)
    pod = next(pod for pod in cluster.pods() if pod["metadata"]["name"] == "bert-worker-a1-1")
    cluster.finish(pod, 137, "OOMKilled")
    cluster.run(1)
    site.report(
        "bert", percent=42, step=420, totalSteps=1000, etaSeconds=3720, attempt=2, slowestGroup="worker", slowestRank=2,
        lagSteps=4, checkpointStep=300, checkpointTime=saved["checkpointTime"],
        metrics=[{"name": "loss", "value": "0.3141592653"}],
    )  # fmt: skip
    cluster.run(30)


@pytest.fixture(scope="module")
def context(browser: Browser, site: ClusterSite) -> Generator[BrowserContext]:
    made = entered(browser, site)
    yield made
    made.close()


@pytest.fixture
def tab(context: BrowserContext, site: ClusterSite) -> Generator[Watched]:
    page = context.new_page()
    watched = Watched(page, site.url)
    yield watched
    page.close()
    assert not watched.wrong, "\n".join(watched.wrong)


def in_both_themes(page: Page) -> list[str]:
    found: list[str] = []
    for theme in ("light", "dark"):
        page.evaluate(f"() => document.documentElement.dataset.theme = '{theme}'")
        found += broken_rules(page)
    page.evaluate("() => delete document.documentElement.dataset.theme")
    return found


def test_all_jobs_and_one_with_its_past(site: ClusterSite, tab: Watched) -> None:
    page = tab.open("#/training")
    table = page.get_by_role("table", name="Training jobs")
    row = table.locator("[data-row=bert]")
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("3/3")
    expect(row).to_contain_text("42%")
    expect(table.locator("[data-row=done]")).to_contain_text("complete")
    expect(table.locator("[data-row=too-large]")).to_contain_text("0/2 nodes are available")
    expect(page.get_by_role("navigation").get_by_role("link", name="Cluster")).to_be_visible()
    assert in_both_themes(page) == []
    row.get_by_role("link", name="bert").click()
    expect(page.get_by_role("heading", name="bert")).to_be_visible()
    progress = page.get_by_role("region", name="Progress")
    expect(progress).to_contain_text("420 of 1000")
    expect(progress).to_contain_text("worker-2 4 steps behind")
    expect(progress).to_contain_text("0.314159")
    time = page.get_by_role("region", name="Where the time went")
    expect(time).to_contain_text("productive")
    expect(time).to_contain_text("lost 11s")
    assert in_both_themes(page) == []
    page.get_by_role("tab", name="Attempts").click()
    attempts = page.get_by_role("table", name="Attempts")
    expect(attempts).to_contain_text("OOMKilled")
    expect(attempts).to_contain_text("137")
    expect(attempts).to_contain_text("node-1")
    expect(page.get_by_text("1 restart counted of 3 that are allowed")).to_be_visible()
    assert in_both_themes(page) == []
    attempts.get_by_role("button", name="worker-1").click()
    panel = page.get_by_role("complementary", name="Rank worker-1")
    expect(panel.get_by_role("log")).to_contain_text("epoch 2 loss 0.7")
    assert in_both_themes(page) == []
    page.get_by_role("tab", name="Conditions").click()
    expect(page.get_by_role("table", name="Conditions")).to_contain_text("AllRanksWork")
    assert in_both_themes(page) == []


def test_by_keys_alone(site: ClusterSite, tab: Watched) -> None:
    page = tab.open("#/training?at=bert")
    expect(page.locator("[data-row=bert].cursor")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="bert")).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("complementary", name="Rank worker-0")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("step 419")
    page.keyboard.press("2")
    expect(page.get_by_role("table", name="Attempts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary")).to_have_count(0)


def test_it_is_live(site: ClusterSite, tab: Watched) -> None:
    page = tab.open("#/training/details/bert")
    expect(page.get_by_role("region", name="Progress")).to_contain_text("420 of 1000")
    site.report("bert", percent=50, step=500, totalSteps=1000)
    expect(page.get_by_role("region", name="Progress")).to_contain_text("500 of 1000")
    page.get_by_role("button", name="Suspend").click()
    expect(page.get_by_text("Its ranks are asked to save and stop.")).to_be_visible()
    site.cluster.run(1)
    expect(page.locator("header .state")).to_have_text("suspended")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("It goes on from its newest checkpoint.")).to_be_visible()
    site.cluster.run(1)
    expect(page.locator("header .state")).not_to_have_text("suspended")


def test_the_cluster_says_what_is_free_and_why_others_wait(site: ClusterSite, tab: Watched) -> None:
    page = tab.open("#/cluster")
    nodes = page.get_by_role("table", name="Nodes")
    expect(nodes.get_by_role("row", name=re.compile("node-0"))).to_contain_text("of 4")
    expect(nodes.get_by_role("row", name=re.compile("node-9"))).to_contain_text("closed to new pods")
    expect(page.get_by_role("table", name="Who waits")).to_contain_text("0/2 nodes are available")
    expect(page.get_by_role("table", name="Quotas")).to_contain_text("16")
    expect(page.get_by_text("NVIDIA-A100-SXM4-80GB").first).to_be_visible()
    assert in_both_themes(page) == []
    page.keyboard.press("f")
    expect(nodes.get_by_role("row", name=re.compile("node-9"))).to_have_count(0)


def test_a_job_can_be_deleted(site: ClusterSite, tab: Watched) -> None:
    page = tab.open("#/training/details/done")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("kubectl delete trainingjob done -n default")
    assert in_both_themes(page) == []
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="Training jobs")).to_be_visible()
    site.cluster.run(1)
    expect(page.locator("[data-row=done]")).to_have_count(0)
