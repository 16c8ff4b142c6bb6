"""The composition that a process starts with, on PostgreSQL; nodes and broker may be away."""

import asyncio
from pathlib import Path

import pytest

from tests.engines import Database as OwnDatabase
from tests.integration.gateway.conftest import ROLE
from tests.services.gateway.world import CHAINS, a_registry
from xstock_gateway.bootstrap import bootstrap
from xstock_gateway.settings import GatewaySettings
from xstock_runtime.errors import Fatal

NOWHERE = "http://127.0.0.1:1"


def settings(database: OwnDatabase, folder: Path, *chains: str) -> GatewaySettings:
    """A laptop's settings, with providers for these chains."""
    registry = folder / "registry.json"
    registry.write_text(a_registry().model_dump_json())
    return GatewaySettings(
        database_url=database.url(user=ROLE),
        kafka_bootstrap="127.0.0.1:1",
        kafka_mac_key=bytes(range(32)).hex(),
        insecure_dev=True,
        registry_path=registry,
        providers={name: [NOWHERE] for name in chains},
        watchers={name: "127.0.0.1:1" for name in chains},
        token_key="k" * 32,
    )


async def test_gateway__started__listens_forgets_and_drains_streams_before_the_server(
    migrated: OwnDatabase, tmp_path: Path
) -> None:
    async with bootstrap(settings(migrated, tmp_path, *CHAINS)) as service:
        assert set(service.loops) == {"kafka", "journal", "retention", "health"}
        assert [name for name, _ in service.drain] == ["streams", "grpc"]
        assert not service.progress.ready()
        forgetting = asyncio.ensure_future(service.loops["retention"]())
        await asyncio.sleep(0.2)
        assert not forgetting.done()
        forgetting.cancel()
        await asyncio.gather(forgetting, return_exceptions=True)
        for _, step in service.drain:
            await step()


async def test_gateway__chain_without_a_provider__refuses_to_start(
    migrated: OwnDatabase, tmp_path: Path
) -> None:
    """F83: a chain that nobody can ask would fail at the first question about it."""
    with pytest.raises(Fatal, match="PROVIDERS_MISSING: providers: bnb"):
        async with bootstrap(settings(migrated, tmp_path, "ethereum")):
            pass


async def test_gateway__schema_not_current__refuses_to_start(
    postgres: OwnDatabase, tmp_path: Path
) -> None:
    wanted = settings(postgres, tmp_path, *CHAINS)
    wanted = wanted.model_copy(update={"database_url": type(wanted.database_url)(postgres.url())})
    with pytest.raises(Fatal, match="SCHEMA_NOT_CURRENT"):
        async with bootstrap(wanted):
            pass
