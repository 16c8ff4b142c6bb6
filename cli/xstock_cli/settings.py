"""Where the services, nodes and keys of a deployment are: options, environment, or a world file.

An option wins over the environment (`XSTOCK_…`), which wins over a world file: the one that
`--world` or `XSTOCK_WORLD` names, else build/devnet/world.json of a running `xstock up`. Nothing
else of the command line reads the environment.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from xstock_chains.registry import Registry, load_registry
from xstock_cli.exits import UsageProblem
from xstock_runtime.grpc_client import ClientTls
from xstock_runtime.settings import problems

USUAL_WORLD: Final = Path("build/devnet/world.json")


class CliSettings(BaseSettings):
    """Every variable of the environment that `xstock` reads."""

    model_config = SettingsConfigDict(env_prefix="XSTOCK_", extra="ignore")

    world: Path | None = Field(default=None, description="a world.json that `xstock up` wrote")
    gateway: str | None = Field(default=None, description="host:port of the partner API")
    relayer: str | None = Field(default=None, description="host:port of the relayer")
    guards: dict[str, str] | None = Field(
        default=None, description='JSON {"guard-1": "host:port", …}'
    )
    watchers: dict[str, str] | None = Field(
        default=None, description='JSON {"ethereum": "host:port", …}'
    )
    registry: Path | None = Field(default=None, description="the deployment's registry.json")
    nodes: dict[str, list[str]] | None = Field(
        default=None, description='JSON {"ethereum": ["https://…"], …}: your own nodes'
    )
    keys: Path | None = Field(default=None, description="folder of key files, NAME.key each")
    issuer_key_id: str | None = Field(default=None, description="the registry's name of your key")
    kafka: str | None = Field(default=None, description="host:port, more by comma (doctor)")
    postgres: str | None = Field(default=None, description="postgresql://… (doctor)")
    identity: str | None = Field(
        default=None, description="who you are to services in insecure_dev: a laptop only"
    )
    tls_certificate: Path | None = Field(default=None, description="PEM of your certificate")
    tls_private_key: Path | None = Field(default=None, description="PEM of your key")
    tls_server_ca: Path | None = Field(default=None, description="PEM of the services' CA")


@dataclass(frozen=True, slots=True)
class Place:
    """One deployment as this command line reaches it."""

    gateway: str = ""
    relayer: str = ""
    guards: Mapping[str, str] = field(default_factory=dict)
    watchers: Mapping[str, str] = field(default_factory=dict)
    registry_path: Path | None = None
    nodes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keys: Path | None = None
    issuer_key_id: str = ""
    kafka: str = ""
    postgres: str = ""
    identity: str = ""
    tls: ClientTls | None = None

    @classmethod
    def of_world(cls, document: Mapping[str, Any]) -> Self:
        """The place that a world file describes; a key that is missing stays empty."""
        return cls(
            gateway=document.get("gateway", ""),
            relayer=document.get("relayer", ""),
            guards=document.get("guards", {}),
            watchers=document.get("watchers", {}),
            registry_path=_path(document.get("registry")),
            nodes=document.get("nodes", {}),
            keys=_path(document.get("keys")),
            issuer_key_id=document.get("issuer_key_id", ""),
            kafka=document.get("kafka", ""),
            postgres=document.get("postgres", ""),
        )

    def need_gateway(self) -> str:
        """The gateway's address; raises UsageProblem."""
        return self.gateway or _missing("gateway", "host:port of the partner API")

    def need_relayer(self) -> str:
        """The relayer's address; raises UsageProblem."""
        return self.relayer or _missing("relayer", "host:port of the relayer")

    def need_guards(self) -> Mapping[str, str]:
        """The guards' addresses; raises UsageProblem."""
        return self.guards or _missing("guards", 'JSON {"guard-1": "host:port", …}')

    def need_registry(self) -> Registry:
        """The registry, read and checked; raises UsageProblem or InvalidRegistry."""
        path = self.registry_path or _missing("registry", "the path of the registry file")
        return load_registry(path)

    def need_nodes(self, chain: str) -> Sequence[str]:
        """Your own nodes of a chain; raises UsageProblem."""
        return self.nodes.get(chain) or _missing("nodes", f'JSON {{"{chain}": ["https://…"]}}')

    def key_file(self, given: str) -> Path:
        """The file of a key: a path, or the name of one in the folder of keys."""
        path = Path(given)
        if path.is_file():
            return path
        named = None if self.keys is None else self.keys / f"{given}.key"
        if named is not None and named.is_file():
            return named
        known = "" if self.keys is None else "; known names: " + ", ".join(_key_names(self.keys))
        raise UsageProblem("--key", given, f"give the path of a key file{known}")


def find_place(
    *,
    world: Path | None = None,
    gateway: str | None = None,
    relayer: str | None = None,
    registry: Path | None = None,
    working_folder: Path | None = None,
) -> Place:
    """What options, environment and world file say together; raises UsageProblem."""
    settings = _settings()
    found = _world(world or settings.world, working_folder or Path())
    tls = _tls(settings)
    return Place(
        gateway=gateway or settings.gateway or found.gateway,
        relayer=relayer or settings.relayer or found.relayer,
        guards=settings.guards or found.guards,
        watchers=settings.watchers or found.watchers,
        registry_path=registry or settings.registry or found.registry_path,
        nodes=settings.nodes or found.nodes,
        keys=settings.keys or found.keys,
        issuer_key_id=settings.issuer_key_id or found.issuer_key_id,
        kafka=settings.kafka or found.kafka,
        postgres=settings.postgres or found.postgres,
        identity=settings.identity or "",
        tls=tls,
    )


def world_document(
    world: Path | None = None, working_folder: Path | None = None
) -> Mapping[str, Any]:
    """The world file itself, found as `find_place` finds it; raises UsageProblem for none."""
    path = world or _settings().world or (working_folder or Path()) / USUAL_WORLD
    return _read_world(path / "world.json" if path.is_dir() else path)


def _settings() -> CliSettings:
    try:
        return CliSettings()
    except ValidationError as error:
        line = problems(CliSettings, error)[0]
        raise UsageProblem("environment", line, "correct or unset the variable") from None
    except ValueError as error:
        # pydantic-settings: a variable that should hold JSON does not
        remedy = 'write JSON, e.g. {"ethereum": ["https://…"]}'
        raise UsageProblem("environment", str(error).splitlines()[0], remedy) from None


def _world(path: Path | None, working_folder: Path) -> Place:
    if path is None:
        usual = working_folder / USUAL_WORLD
        return Place.of_world(_read_world(usual)) if usual.is_file() else Place()
    return Place.of_world(_read_world(path / "world.json" if path.is_dir() else path))


def _read_world(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        remedy = "give a world.json that `xstock up` wrote, or start `xstock up`"
        raise UsageProblem("--world", str(path), remedy) from None
    if not isinstance(document, dict):
        raise UsageProblem("--world", str(path), "it must hold one JSON object")
    return document


def _tls(settings: CliSettings) -> ClientTls | None:
    parts = (settings.tls_server_ca, settings.tls_certificate, settings.tls_private_key)
    ca, certificate, key = parts
    if ca is None and certificate is None and key is None:
        return None
    if ca is None or certificate is None or key is None:
        remedy = "set all three of XSTOCK_TLS_SERVER_CA, _TLS_CERTIFICATE, _TLS_PRIVATE_KEY"
        raise UsageProblem("environment", "XSTOCK_TLS_*", remedy)
    return ClientTls(ca, certificate, key)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _key_names(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.key"))


def _missing(name: str, form: str) -> Any:
    remedy = f"set XSTOCK_{name.upper()} ({form}), or give --world, or start `xstock up` here"
    raise UsageProblem(name, "", remedy)
