"""Keys, certificates and kubeconfig files of a cluster, made anew for each."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=365)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


def _private(path: Path, data: bytes) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    return path


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common: str, organizations: Sequence[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, word) for word in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """The cluster's certificate authority; its files lie in ``folder``, which it makes or finds again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        if not self.certificate.exists():
            self._create()
        self._key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        self._own = x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def _create(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("mlplatform test cluster")
        now = datetime.now(UTC)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + _LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        _private(self.folder / "ca.key", _key_pem(key))
        self.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, common: str, groups: Sequence[str] = (), names: Sequence[str] = ()) -> Pair:
        """A certificate for ``common`` of ``groups``; with ``names`` (hosts, addresses) it may serve as well."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])]
        builder = x509.CertificateBuilder(
            self._own.subject, _name(common, groups), key.public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + _LIFE)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                self._own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(n) for n in names]), False)
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        signed = builder.sign(self._key, hashes.SHA256())
        certificate = self.folder / f"{file}.crt"
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return Pair(certificate, _private(self.folder / f"{file}.key", _key_pem(key)))

    def service_accounts(self) -> Pair:
        """The key pair that signs ServiceAccount tokens (``certificate`` is the bare public key)."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = self.folder / "sa.pub"
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return Pair(public, _private(self.folder / "sa.key", _key_pem(key)))

    def kubeconfig(self, path: Path, server: str, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig file that needs no other file, for ``user`` of ``groups``; in JSON, which is YAML."""
        pair = self.issue(f"client-{path.stem}", user, groups)

        def data(file: Path) -> str:
            return base64.b64encode(file.read_bytes()).decode()

        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {"name": "test", "cluster": {"server": server, "certificate-authority-data": data(self.certificate)}}
            ],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [
                {
                    "name": "test",
                    "user": {"client-certificate-data": data(pair.certificate), "client-key-data": data(pair.key)},
                }
            ],
        }
        return _private(path, json.dumps(config, indent=1).encode())
