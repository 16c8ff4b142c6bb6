"""Settings: missing or weak is refused with field, value and remedy; secrets stay secret."""

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from xstock_runtime.settings import ServiceSettings, load

KEY = bytes(range(32)).hex()


class ExampleSettings(ServiceSettings):
    """A service's settings."""

    model_config = SettingsConfigDict(env_prefix="XSTOCK_EXAMPLE_")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {
        "DATABASE_URL": "postgresql://runner:hunter2@127.0.0.1:5432/example",
        "KAFKA_BOOTSTRAP": "127.0.0.1:9092",
        "KAFKA_MAC_KEY": KEY,
        "INSECURE_DEV": "true",
    }.items():
        monkeypatch.setenv(f"XSTOCK_EXAMPLE_{name}", value)
    return monkeypatch


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        load(ExampleSettings)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_load__complete_environment__gives_settings(environment: pytest.MonkeyPatch) -> None:
    settings = load(ExampleSettings)
    assert settings.mac_keys == (bytes(range(32)),)
    assert "hunter2" not in repr(settings)


def test_load__rotation__believes_both_keys(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("XSTOCK_EXAMPLE_KAFKA_MAC_KEY_PREVIOUS", bytes(range(1, 33)).hex())
    assert load(ExampleSettings).mac_keys == (bytes(range(32)), bytes(range(1, 33)))


def test_load__missing__names_the_variable_and_what_belongs_there(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("XSTOCK_EXAMPLE_DATABASE_URL")
    text = refusal(capsys)
    assert "XSTOCK_EXAMPLE_DATABASE_URL: not set; set it (postgresql://" in text


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KAFKA_MAC_KEY", "00" * 32, "openssl rand -hex 32"),
        ("KAFKA_MAC_KEY", "", "openssl rand -hex 32"),
        ("KAFKA_MAC_KEY", "abcd", "at least 32 random bytes"),
        ("KAFKA_MAC_KEY", "zz" * 32, "must be hex"),
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("KAFKA_BOOTSTRAP", "", "at least 3 characters"),
        ("DRAIN_SECONDS", "0", "greater than 0"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL = 'LOUD'"),
        ("GRPC_LISTEN", "8080", "GRPC_LISTEN = '8080'"),
        ("INSECURE_DEV", "false", "tls_*"),
        ("TLS_CERTIFICATE", "/nowhere/cert.pem", "belong together"),
    ],
)
def test_load__weak_value__names_field_and_remedy(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    says: str,
) -> None:
    environment.setenv(f"XSTOCK_EXAMPLE_{name}", value)
    text = refusal(capsys)
    assert says in text
    assert "hunter2" not in text


def test_load__weak_secret__is_masked_in_the_refusal(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("XSTOCK_EXAMPLE_KAFKA_MAC_KEY", "abcdef")
    text = refusal(capsys)
    assert "XSTOCK_EXAMPLE_KAFKA_MAC_KEY = ***" in text
    assert "abcdef" not in text


def test_load__tls_and_insecure_together__are_a_contradiction(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("TLS_CERTIFICATE", "TLS_PRIVATE_KEY", "TLS_CLIENT_CA"):
        path = tmp_path / name
        path.write_text("pem")
        environment.setenv(f"XSTOCK_EXAMPLE_{name}", str(path))
    assert "contradicts" in refusal(capsys)
