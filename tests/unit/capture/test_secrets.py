"""What looks like a secret is refused, with the fix; what merely has such a name is not."""

from __future__ import annotations

import pytest

from mlplatform.capture import CannotCapture, capture
from tests.support.kernel import Kernel

REFUSED = {
    "a global": ("API_KEY = 'abc-123-def'", "API_KEY"),
    "a password": ("db_password = 'hunter2'", "db_password"),
    "camel case": ("dbPassword = 'hunter2'", "dbPassword"),
    "nested in a dict": ("thing = {'db': {'password': 'hunter2'}}", "thing['db']['password']"),
    "in an object": ("class A: pass\nthing = A()\nthing.secret = 'hunter22'", "thing.secret"),
    "a known token": ("thing = 'ghp_" + "a1B2" * 9 + "'", "access token"),
    "a token among others": ("thing = ['x', 'AKIA" + "ABCD1234EFGH5678" + "']", "thing[1]"),
    "a private key": ("thing = '''-----BEGIN RSA PRIVATE KEY-----\nMIIE\n'''", "private key"),
    "an address": ("thing = 'postgresql://me:hunter2@db/x'", "password in it"),
    "a literal in a helper": ("def helper():\n    token = 'abcd1234efgh'\n    return token\nthing = helper", "'token'"),
    "a keyword in a call": ("def helper(): return dict(password='hunter2')\nthing = helper", "'password'"),
    "a default": ("def helper(secret='hunter22'): return secret\nthing = helper", "'secret'"),
    "a class attribute": ("class A:\n    api_key = 'abc-123-def'\nthing = A", "'api_key'"),
}  # fmt: skip
ALLOWED = {
    "empty": "password = ''",
    "a placeholder": "api_key = '<your key>'",
    "read from the environment": "import os\ndef helper(): return os.environ['API_KEY']",
    "special tokens": "pad_token = '[PAD]'\neos_token = '<|endoftext|>'\nunk_token = 'unk'",
    "names of things": "password_field = 'pw'\ntoken_pattern = r'\\w+'\nmax_tokens = 5\ntokenizer = 'bert-base'",
    "a word": "secret_santa = 'Anna'",
    "a template": "password = '{password}'\nurl = 'https://user:{password}@host'",
    "asked for by name": "def helper(ml): return ml.secret('API_KEY')",
}


def function_of(text: str) -> object:
    kernel = Kernel()
    kernel.run(text)
    names = [name for name in kernel.names if not name.startswith("__")]
    kernel.run(f"def f(): return [{', '.join(names)}]")
    return kernel["f"]


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind: str) -> None:
    text, words = REFUSED[kind]
    with pytest.raises(CannotCapture) as refused:
        capture(function_of(text))
    told = [str(finding) for finding in refused.value.findings]
    assert any(words in line and 'ml.secret("NAME")' in line for line in told), told
    assert {finding.code for finding in refused.value.findings} == {"secret"}
    assert "hunter2" not in str(refused.value), "the secret itself is not told"


@pytest.mark.parametrize("kind", ALLOWED)
def test_allowed(kind: str) -> None:
    assert capture(function_of(ALLOWED[kind])).findings == ()


def test_a_module_of_the_project_with_a_secret_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "settings_of_test.py").write_text("x = 1\nDB_PASSWORD = 'hunter2'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    kernel = Kernel()
    kernel.run("def f():\n    import settings_of_test\n    return settings_of_test.x")
    with pytest.raises(CannotCapture) as refused:
        capture(kernel["f"])
    (finding,) = refused.value.findings
    assert finding.path == "settings_of_test.py:2"
    assert "DB_PASSWORD" in finding.message
