"""Every environment variable of a supply-guard."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from xstock_runtime.settings import ServiceSettings

Urls = Annotated[list[str], Field(min_length=1)]


def _usual_roles() -> dict[str, list[str]]:
    return {
        "relayer": ["relayer"],
        "gateway": ["gateway"],
        "custodian": ["custodian"],
        "agent": ["agent"],
        "auditor": ["auditor"],
        "issuer": ["issuer"],
        "operator": ["operator"],
        "operator-1": ["operator", "approver"],
        "operator-2": ["operator", "approver"],
    }


class GuardSettings(ServiceSettings):
    """One guard; variables begin with XSTOCK_GUARD_."""

    model_config = SettingsConfigDict(
        env_prefix="XSTOCK_GUARD_",
        extra="ignore",
        env_ignore_empty=False,
        hide_input_in_errors=True,
    )

    guard_id: str = Field(min_length=1, max_length=64, description="the registry's name for it")
    registry_path: Path = Field(description="the deployment's registry file")
    providers: dict[str, Urls] = Field(
        description='JSON {chain: [node URLs]} of this guard alone, e.g. {"bnb":["http://a"]}'
    )
    provider_quorum: int = Field(
        default=0, ge=0, description="providers that must agree per chain; 0 means more than half"
    )
    foreign_providers: list[str] = Field(
        default_factory=list,
        description="JSON list of node URLs that watchers and other guards use; sharing is refused",
    )
    key_file: Path | None = Field(
        default=None, description="this guard's key, for every family that key_files does not name"
    )
    key_files: dict[str, Path] = Field(
        default_factory=dict, description='JSON {family: key file}, e.g. {"evm":"/keys/guard-1"}'
    )
    paper_key_file: Path | None = Field(
        default=None,
        description="the secp256k1 key of this guard's own papers (supply proofs, openings)",
    )
    roles: dict[str, list[str]] = Field(
        default_factory=_usual_roles,
        description="JSON {identity: [roles]}: relayer, gateway, custodian, issuer, agent,"
        " operator, approver, auditor; one identity may hold several",
    )
    screening_list_path: Path | None = Field(
        default=None,
        description="the signed screening list; needed exactly when the registry has screeners,"
        " read again when the file changes",
    )
    reserves_url: str = Field(
        default="",
        description="base URL of the issuer's proof-of-reserves feed; empty asks none",
    )
    reserves_seconds: float = Field(
        default=60.0, ge=1, le=86_400, description="how often the reserves feed is asked"
    )
    provider_timeout_seconds: float = Field(
        default=5.0, gt=0, le=60, description="how long a question to the providers may take"
    )
    poll_seconds: float = Field(
        default=0.0, ge=0, le=60, description="how often heads are asked for; 0 = by block time"
    )
    audit_seconds: float = Field(
        default=5.0, gt=0, le=600, description="how often every chain's supply is read"
    )
    watch_seconds: float = Field(
        default=60.0, gt=0, le=600, description="how often every chain's roles and code are checked"
    )
    review_wait_seconds: float = Field(
        default=1.0, ge=0, le=10, description="how long a review waits for a burn to be scanned"
    )
    lease_seconds: float = Field(
        default=30.0, ge=1, le=300, description="how long a silent process keeps the writer's lease"
    )
    lease_wait_seconds: float = Field(
        default=20.0, ge=0, le=600, description="how long to stand by for the lease at the start"
    )
    page_limit: int = Field(default=1_000, ge=1, le=10_000, description="observations per page")
    fresh_key: bool = Field(
        default=False,
        description="true only for the first start of a guard whose keys have never signed: its new"
        " database signs at once instead of after one permit lifetime",
    )
    restore_mark: str = Field(
        default="",
        max_length=64,
        description="change it (a date will do) after restoring the database from a volume snapshot"
        " or a dump, which PostgreSQL cannot show: signing waits one permit lifetime",
    )
