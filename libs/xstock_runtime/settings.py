"""Settings from the environment, refused loudly when they are missing or weak.

A service subclasses `ServiceSettings` with its own `env_prefix` and fields; this is the one place
where the environment is read. `load` turns every problem into a line that names the variable, the
value (secrets masked) and the remedy, and exits with status 2.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from xstock_runtime.logging import MASK, redact_text

EXIT_SETTINGS = 2
_MAC_KEY_BYTES_MIN = 32
Port = Annotated[str, Field(pattern=r"^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")]


class ServiceSettings(BaseSettings):
    """What every service needs to know. Addresses are `host:port`; port 0 picks a free one."""

    model_config = SettingsConfigDict(
        extra="ignore", env_ignore_empty=False, hide_input_in_errors=True
    )

    database_url: SecretStr = Field(description="postgresql://role:password@host:port/database")
    kafka_bootstrap: str = Field(min_length=3, description="host:port, more by comma")
    kafka_mac_key: SecretStr = Field(
        description="hex of at least 32 random bytes, the same for all services"
    )
    kafka_mac_key_previous: SecretStr | None = Field(
        default=None, description="the key before a rotation, still believed while it is set"
    )
    grpc_listen: Port = Field(default="127.0.0.1:0", description="where the gRPC server listens")
    metrics_listen: Port = Field(
        default="127.0.0.1:0", description="where /metrics, /healthz and /livez are served"
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_json: bool = Field(default=True, description="JSON lines; false = text for people")
    drain_seconds: float = Field(
        default=20.0, gt=0, le=600, description="time to finish on SIGTERM"
    )
    tls_certificate: Path | None = Field(default=None, description="PEM chain of this service")
    tls_private_key: Path | None = Field(default=None, description="PEM key of this service")
    tls_client_ca: Path | None = Field(default=None, description="PEM CA that callers must have")
    insecure_dev: bool = Field(
        default=False, description="no TLS, identities taken from a header: a laptop only"
    )

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgresql+asyncpg://")):
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("kafka_mac_key", "kafka_mac_key_previous")
    @classmethod
    def _strong_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _key_bytes(value)
        return value

    @model_validator(mode="after")
    def _tls_or_dev(self) -> Self:
        parts = (self.tls_certificate, self.tls_private_key, self.tls_client_ca)
        if any(parts) and not all(parts):
            raise ValueError(
                "tls_certificate, tls_private_key and tls_client_ca belong together: set all three"
            )
        if not any(parts) and not self.insecure_dev:
            raise ValueError("set the three tls_* files, or insecure_dev=true on a laptop")
        if any(parts) and self.insecure_dev:
            raise ValueError("insecure_dev=true contradicts the tls_* files: unset one of them")
        for path in parts:
            if path is not None and not path.is_file():
                raise ValueError(f"{path} is not a readable file")
        return self

    @property
    def mac_key(self) -> bytes:
        """The key that signs this service's records."""
        return _key_bytes(self.kafka_mac_key)

    @property
    def mac_keys(self) -> tuple[bytes, ...]:
        """The keys whose records are believed."""
        if self.kafka_mac_key_previous is None:
            return (self.mac_key,)
        return (self.mac_key, _key_bytes(self.kafka_mac_key_previous))


def _key_bytes(value: SecretStr) -> bytes:
    try:
        key = bytes.fromhex(value.get_secret_value().removeprefix("0x"))
    except ValueError:
        raise ValueError("must be hex; make one with: openssl rand -hex 32") from None
    if len(key) < _MAC_KEY_BYTES_MIN or len(set(key)) < 8:
        raise ValueError(
            f"must be at least {_MAC_KEY_BYTES_MIN} random bytes;"
            " make one with: openssl rand -hex 32"
        )
    return key


S = TypeVar("S", bound=BaseSettings)


def problems(settings_class: type[BaseSettings], error: ValidationError) -> list[str]:
    """One line per problem: the variable, its value (secrets masked) and what to do."""
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    lines = []
    for problem in error.errors():
        field = str(problem["loc"][0]) if problem["loc"] else ""
        info = settings_class.model_fields.get(field)
        name = f"{prefix}{field}".upper() if field else "settings"
        meaning = f" ({info.description})" if info is not None and info.description else ""
        if problem["type"] == "missing":
            lines.append(f"{name}: not set; set it{meaning}")
            continue
        secret = info is not None and "Secret" in str(info.annotation)
        value = "" if not field else f" = {MASK if secret else redact_text(repr(problem['input']))}"
        lines.append(f"{name}{value}: {problem['msg'].removeprefix('Value error, ')}{meaning}")
    return lines


def load(settings_class: type[S]) -> S:
    """The settings of this process; on any problem a clear text on stderr and exit status 2."""
    try:
        return settings_class()
    except ValidationError as error:
        _refuse(problems(settings_class, error))


def _refuse(lines: list[str]) -> NoReturn:
    sys.stderr.write("cannot start, settings are missing or weak:\n")
    sys.stderr.writelines(f"  {line}\n" for line in lines)
    raise SystemExit(EXIT_SETTINGS)
