"""The keys of a job are what OpenSSH takes for keys."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.controllers.trainingjob.keys import new_keys, public_key, ssh_pair


@given(st.binary(min_size=32, max_size=32))
def test_the_public_key_is_a_librarys(seed: bytes) -> None:
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    assert public_key(seed) == Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(*raw)


def test_a_library_reads_the_files() -> None:
    private, public = ssh_pair(bytes(range(32)), b"abcd")
    read = serialization.load_ssh_private_key(private.encode(), None)
    ssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    assert read.public_key().public_bytes(*ssh).decode() == public.rpartition(" ")[0]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no OpenSSH client on this machine")
def test_openssh_reads_the_file(tmp_path: Path) -> None:
    keys = new_keys()
    file = tmp_path / "id"
    file.touch(0o600)
    file.write_text(keys.private)
    told = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True)
    assert told.stdout == keys.public


def test_keys_are_fresh_and_not_shown() -> None:
    one, other = new_keys(), new_keys()
    assert one != other
    assert one.token not in repr(one)
    assert "PRIVATE" not in repr(one)
