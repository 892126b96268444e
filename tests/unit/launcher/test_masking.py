"""A planted secret is in no log and no result, however it was written."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.launcher.masking import MARKER, Stream, mask_json, masked, spellings, writer

SECRET = "pa$$ word-4711\nsecond line"


def test_no_way_of_writing_shows_it(runner, bench):
    source = """
    def task(out: OutputPath(str)) -> str:
        import base64, json, logging, os, subprocess, sys, urllib.parse
        secret = os.environ["SECRET"]
        print("plain", secret)
        sys.stderr.write(secret + "\\n")
        logging.error("logged %r", secret)
        os.write(1, secret[:5].encode()); os.write(1, secret[5:].encode())
        subprocess.run(["sh", "-c", 'printf "%s" "$SECRET"; printf "%s" "$SECRET" >&2'])
        print(json.dumps({"k": secret}), urllib.parse.quote(secret), base64.b64encode(secret.encode()).decode())
        open(out, "w").write("made with " + secret)
        print("the end")
        return secret.splitlines()[0]
    """
    spec = bench.component(
        source, returns="STRING", out_parameters={"out": "STRING"}, env={"SECRET": SECRET}, secrets=[SECRET], trace=True
    )
    done = runner.run(spec)
    assert done["state"] == "SUCCEEDED", done.log
    assert done["parameters"] == {"out": "made with ***", "Output": "***"}
    assert "plain ***" in done.log
    assert "the end" in done.log
    for text in (done.log, (done.directory / "result.json").read_text()):
        for word in spellings([SECRET]):
            assert word not in text
    assert not (done.directory / "spec.json").exists()
    assert not (done.directory / MARKER).exists()


def test_a_failure_does_not_show_it_either(runner, bench):
    source = "def task():\n    import os\n    raise ValueError('bad token ' + os.environ['SECRET'])\n"
    done = runner.run(bench.component(source, env={"SECRET": SECRET}, secrets=[SECRET]))
    assert done["error"]["message"] == "ValueError: bad token ***"
    assert "4711" not in json.dumps(done)
    assert "4711" not in done.log


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)"])
def test_the_last_words_of_a_dying_task_arrive_masked(runner, bench, end):
    source = f"def task():\n    import os\n    print('last words', os.environ['SECRET'])\n    {end}\n"
    done = runner.run(bench.component(source, env={"SECRET": "hush-hush"}, secrets=["hush-hush"]))
    assert done == {}
    assert done.log == "last words ***\n"


def test_short_values_are_left_alone():
    assert spellings(["1", "abc", ""]) == []
    assert mask_json({"a": ["word", 1, None]}, spellings(["word"])) == {"a": ["***", 1, None]}


@given(st.text(min_size=4, max_size=8, alphabet="abc"), st.text(alphabet="abc", max_size=60), st.data())
def test_cutting_the_stream_changes_nothing(secret, text, data):
    whole = Stream([secret])
    expected = whole.feed(text.encode()) + whole.end()
    stream, pieces, rest = Stream([secret]), b"", text.encode()
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces += stream.feed(rest[:size])
        rest = rest[size:]
    pieces += stream.end()
    assert pieces == expected
    assert secret.encode() not in pieces


def test_nothing_is_held_back_that_is_no_beginning():
    stream = Stream(["secret"])
    assert stream.feed(b"a line\n") == b"a line\n"
    assert stream.feed(b"a sec") == b"a "
    assert stream.feed(b"ond\n") == b"second\n"


def test_who_ends_the_attempt_cannot_end_its_log(tmp_path):
    """A signal in the very first moment, when the masking process has not had the processor yet."""
    marker, path = tmp_path / MARKER, tmp_path / "task.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    write = masked(log, [SECRET], str(marker))
    (pid,) = writer(str(marker))
    os.kill(pid, signal.SIGTERM)
    assert os.getsid(pid) != os.getsid(0)
    os.write(write, b"last words " + SECRET.encode() + b"\n")
    os.close(write)
    deadline = time.monotonic() + 60
    while marker.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.read_text() == "last words ***\n"
    assert writer(str(marker)) == ()
