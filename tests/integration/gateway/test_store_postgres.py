"""The PostgreSQL store under the stores' suite."""

from tests.services.gateway.store_contract import GatewayStoreContract


class TestPostgresGatewayStore(GatewayStoreContract):
    """On a real server, under the runtime role."""
