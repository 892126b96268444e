"""Credentials by the official ``kubernetes`` package's rules: the one door to it.

:func:`connect` is where a client comes from: a kubeconfig file (certificates, tokens, token files, exec plug-ins,
OIDC), or what a pod is told. The official package reads and refreshes credentials; requests are ours
(:mod:`mlplatform.kube.http`).
"""

from __future__ import annotations

import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.http import HttpTransport
from mlplatform.kube.target import Target, TokenFile, in_cluster

_log = logging.getLogger(__name__)

_INSTALL: Final = "Install it with: pip install 'mlplatform[kubernetes]'"


def connect(kubeconfig: str | None = None, context: str | None = None) -> Client:
    """A client for the cluster that is named, else for KUBECONFIG's, ~/.kube/config's, or the one this pod runs in.

    Raises KubernetesError where there is none, or the kubeconfig cannot be used.
    """
    return Client(HttpTransport(loader(kubeconfig, context)))


def target(kubeconfig: str | None = None, context: str | None = None) -> Target:
    """What :func:`connect` connects to. Raises KubernetesError."""
    return loader(kubeconfig, context)()


def loader(kubeconfig: str | None = None, context: str | None = None) -> Callable[[], Target]:
    """A function that reads the configuration; it is called again when the credentials are refused."""
    named = kubeconfig or os.environ.get("KUBECONFIG") or ""
    files = named or "~/.kube/config"
    exists = any(Path(one).expanduser().is_file() for one in files.split(os.pathsep) if one)
    if named and not exists:
        raise KubernetesError(f"There is no kubeconfig file {named}.", hint="Name another one with --kubeconfig.")
    if exists:
        return lambda: _from_kubeconfig(files, context)
    if context:
        raise KubernetesError(
            f"There is no kubeconfig file to find the context {context!r} in.", hint="Name one with --kubeconfig."
        )
    return lambda: in_cluster(time.monotonic)


def _from_kubeconfig(files: str, context: str | None) -> Target:
    try:
        from kubernetes.client import Configuration  # pyright: ignore[reportMissingTypeStubs]
        from kubernetes.config import kube_config  # pyright: ignore[reportMissingTypeStubs]
        from kubernetes.config.config_exception import ConfigException  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise KubernetesError(f"Reading a kubeconfig needs the package kubernetes: {error}.", hint=_INSTALL) from error
    configuration: Any = Configuration()
    kubernetes: Any = kube_config
    try:
        merged: Any = kubernetes.KubeConfigMerger(files)
        if merged.config is None:
            raise KubernetesError(f"The kubeconfig {files} is empty.")
        reader: Any = kubernetes.KubeConfigLoader(
            config_dict=merged.config,
            active_context=context,
            config_persister=merged.save_changes,
            config_base_path=None,
        )
        reader.load_and_set(configuration)
        chosen: dict[str, Any] = reader.current_context["context"]
        cluster = _entry(merged.config, "clusters", "cluster", chosen.get("cluster"))
        user = _entry(merged.config, "users", "user", chosen.get("user"))
    except (ConfigException, KeyError, TypeError, ValueError, OSError) as error:
        raise KubernetesError(f"The kubeconfig {files} cannot be used: {error}", hint=_contexts(files)) from error
    key: str | None = configuration.api_key.get("authorization")
    if "exec" in user[0] and not key and not configuration.cert_file:
        command = user[0]["exec"].get("command")
        raise KubernetesError(
            f"The credential plug-in {command!r} of the kubeconfig gave neither a token nor a certificate.",
            hint="Run it by itself, or log in with your provider's tool; kubectl would fail the same way.",
        )
    return Target(
        server=configuration.host,
        namespace=str(chosen.get("namespace") or "default"),
        ca_file=configuration.ssl_ca_cert,
        cert_file=configuration.cert_file,
        key_file=configuration.key_file,
        verify=bool(configuration.verify_ssl),
        server_name=configuration.tls_server_name,
        proxy=str(cluster[0].get("proxy-url") or "") or _proxy(configuration.host),
        headers=_impersonation(user[0]),
        authorization=_authorization(configuration, user),
    )


def _entry(config: Any, kind: str, inner: str, name: str | None) -> tuple[dict[str, Any], str]:
    """One entry of a merged kubeconfig, and the folder of the file that it is in."""
    for entry in config.value.get(kind) or ():
        value: dict[str, Any] = getattr(entry, "value", entry)
        if value.get("name") == name:
            return dict(value.get(inner) or {}), str(Path(getattr(entry, "path", None) or ".").parent)
    return {}, "."


def _authorization(configuration: Any, user: tuple[dict[str, Any], str]) -> Callable[[], str | None]:
    entry, folder = user
    if entry.get("tokenFile"):  # the package reads it once
        return TokenFile(Path(folder, entry["tokenFile"]), time.monotonic)
    lock = threading.Lock()

    def ask() -> str | None:
        with lock:  # it may run a plug-in, and change the configuration
            return configuration.get_api_key_with_prefix("authorization")

    return ask


def _impersonation(user: dict[str, Any]) -> dict[str, str]:
    """``as`` of a kubeconfig, which the package leaves out. Raises KubernetesError for what would be lost silently."""
    if user.get("as-groups") or user.get("as-user-extra"):
        raise KubernetesError("The kubeconfig impersonates groups (as-groups, as-user-extra): only `as` is supported.")
    return {"Impersonate-User": str(user["as"])} if user.get("as") else {}


def _proxy(server: str) -> str | None:
    parts = urlsplit(server)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _contexts(files: str) -> str:
    try:
        from kubernetes.config import kube_config  # pyright: ignore[reportMissingTypeStubs]

        kubernetes: Any = kube_config
        names = ", ".join(sorted(str(one["name"]) for one in kubernetes.list_kube_config_contexts(files)[0]))
    except Exception:  # noqa: BLE001 - only a hint: what is wrong with the file has been said
        return ""
    return f"Its contexts: {names}." if names else ""
