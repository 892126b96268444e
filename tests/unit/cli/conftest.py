from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import pipelines
from tests.support.home import TestHome, home_in


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    """A home with a service, shared by the tests of a file."""
    with home_in(tmp_path_factory.mktemp("cli")) as home:
        (home.folder / "chain.json").write_text(pipelines.chain(3, cache=True).text())
        builder = pipelines.Builder("slow")
        source = "def slow():\n    import time\n    print('it runs', flush=True)\n    time.sleep(60)\n"
        builder.component("slow", source)
        builder.task("slow")
        (home.folder / "slow.json").write_text(builder.text())
        stubborn = "import signal\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    import time\n"
        builder = pipelines.Builder("stubborn")
        builder.component("slow", source.replace("import time\n", stubborn))
        builder.task("slow")
        (home.folder / "stubborn.json").write_text(builder.text())
        builder = pipelines.Builder("failing")
        builder.component("fail", "def fail():\n    print('about to')\n    raise ValueError('no ' + 'good')\n")
        builder.component("fine", "def fine():\n    print('fine')\n")
        builder.task("fail")
        builder.task("fine", cache=True)
        builder.task("after", "fine", after=["fail"])
        (home.folder / "failing.json").write_text(builder.text())
        yield home
