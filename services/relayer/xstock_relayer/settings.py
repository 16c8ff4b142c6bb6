"""Every environment variable of the relayer."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from xstock_runtime.settings import ServiceSettings

Urls = Annotated[list[str], Field(min_length=1)]


def _usual_roles() -> dict[str, list[str]]:
    return {
        "issuer": ["issuer"],
        "gateway": ["issuer", "gateway"],
        "operator": ["operator"],
        "operator-1": ["operator"],
        "operator-2": ["operator"],
        "agent": ["agent"],
    }


class RelayerSettings(ServiceSettings):
    """The relayer; variables begin with XSTOCK_RELAYER_."""

    model_config = SettingsConfigDict(
        env_prefix="XSTOCK_RELAYER_",
        extra="ignore",
        env_ignore_empty=False,
        hide_input_in_errors=True,
    )

    registry_path: Path = Field(description="the deployment's registry file")
    providers: dict[str, Urls] = Field(
        description='JSON {chain: [node URLs]}, e.g. {"bnb":["http://a"]}; the next is asked when '
        "one fails"
    )
    keys: dict[str, Path] = Field(
        min_length=1, description='JSON {chain: key file} of the sending keys, e.g. {"bnb":"/k"}'
    )
    watchers: dict[str, str] = Field(
        min_length=1, description="JSON {chain: host:port} of every chain's watcher"
    )
    guards: dict[str, str] = Field(
        default_factory=dict,
        description="JSON {guard: host:port}; others are called at the registry's address",
    )
    roles: dict[str, list[str]] = Field(
        default_factory=_usual_roles,
        description="JSON {identity: [roles]}: issuer, operator, agent, gateway",
    )
    dev_identity: str = Field(
        default="relayer", description="who we say we are to peers in insecure_dev"
    )
    kafka_group: str = Field(default="relayer", min_length=1, description="consumer group")
    guard_deadline_seconds: float = Field(
        default=8.0, gt=0, le=60, description="how long one question to a guard may take"
    )
    guard_calls_max: int = Field(
        default=3, ge=1, le=16, description="pages in flight to one guard at once"
    )
    review_page: int = Field(default=400, ge=1, le=1000, description="claims per page")
    page_records: int = Field(default=1000, ge=1, le=10_000, description="Kafka records per page")
    heal_seconds: float = Field(
        default=2.0, gt=0, le=600, description="how often watchers are asked for what is missing"
    )
    in_flight_max: int = Field(
        default=16, ge=1, le=256, description="batches per chain that are not yet in a block"
    )
    bump_seconds: float = Field(
        default=15.0, gt=0, le=3600, description="after which the fee of a pending send is raised"
    )
    resend_seconds: float = Field(
        default=3.0, gt=0, le=600, description="after which pending bytes are sent again"
    )
    gap_seconds: float = Field(
        default=5.0, gt=0, le=600, description="after which an unused slot in the way is filled"
    )
    lease_seconds: float = Field(
        default=6.0, ge=1, le=60, description="how long a silent process keeps the sender's lease"
    )
    provider_timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="how long one call of a node may take"
    )
