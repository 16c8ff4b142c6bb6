"""Mutual TLS with certificates of a throw-away CA: the identity is what the CA signed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.services.runtime.grpc_example import SECRET, Example, serving
from xstock_runtime.grpc_client import ChannelSettings, ClientTls, open_channel
from xstock_runtime.grpc_errors import remote_error
from xstock_runtime.grpc_server import DEV_IDENTITY_HEADER, GrpcServerSettings, TlsFiles


class Authority:
    """A certificate authority that lives for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(pem(self._sign(self.name, self.key.public_key(), ca=True)))

    def issue(
        self, common_name: str, *alternative_names: str, life: timedelta = timedelta(days=1)
    ) -> tuple[Path, Path]:
        """A certificate and its key; with a `life` that is over it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = self._sign(subject, key.public_key(), names=alternative_names, life=life)
        paths = (self.folder / f"{common_name}.crt", self.folder / f"{common_name}.key")
        paths[0].write_bytes(pem(certificate))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths

    def _sign(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        *,
        ca: bool = False,
        names: tuple[str, ...] = (),
        life: timedelta = timedelta(days=1),
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def calling(target: ChannelSettings) -> Any:
    return open_channel(target)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def settings(ours: Authority) -> GrpcServerSettings:
    certificate, key = ours.issue("guard-1", "localhost")
    return GrpcServerSettings(
        "127.0.0.1:0", tls=TlsFiles(certificate, key, ours.path), lame_duck_seconds=0
    )


@pytest.mark.parametrize(
    ("common_name", "alternative_names", "answered_as"),
    [
        ("relayer", (), b"relayer"),
        ("some-host", ("relayer",), b"relayer"),
        ("some-host", ("not-a-role", "relayer"), b"relayer"),
    ],
)
async def test_caller__with_our_certificate__is_who_the_certificate_says(
    ours: Authority, common_name: str, alternative_names: tuple[str, ...], answered_as: bytes
) -> None:
    certificate, key = ours.issue(common_name, *alternative_names)
    async with serving(Example(), settings(ours)) as server:
        target = ChannelSettings(
            f"localhost:{server.port}", tls=ClientTls(ours.path, certificate, key)
        )
        async with calling(target) as channel:
            assert await channel.unary_unary(SECRET)(b"") == answered_as


async def test_caller__claiming_another_name_in_the_dev_header__is_not_believed(
    ours: Authority,
) -> None:
    certificate, key = ours.issue("visitor")
    async with serving(Example(), settings(ours)) as server:
        target = ChannelSettings(
            f"localhost:{server.port}",
            tls=ClientTls(ours.path, certificate, key),
            dev_identity="relayer",
        )
        async with calling(target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(SECRET)(b"")
    assert remote_error(refused.value).code == "PERMISSION_DENIED"
    assert DEV_IDENTITY_HEADER == "x-dev-identity"


async def test_caller__with_a_certificate_of_another_ca__does_not_get_through(
    ours: Authority, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    theirs = Authority(tmp_path / "theirs", "theirs")
    certificate, key = theirs.issue("relayer")
    example = Example()
    async with serving(example, settings(ours)) as server:
        target = ChannelSettings(
            f"localhost:{server.port}",
            tls=ClientTls(ours.path, certificate, key),
            deadline_seconds=2,
        )
        async with calling(target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(SECRET)(b"")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert example.calls == 0
