"""Every environment variable of the watcher."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from xstock_runtime.settings import ServiceSettings


class WatcherSettings(ServiceSettings):
    """One chain's watcher; variables begin with XSTOCK_WATCHER_."""

    model_config = SettingsConfigDict(
        env_prefix="XSTOCK_WATCHER_",
        extra="ignore",
        env_ignore_empty=False,
        hide_input_in_errors=True,
    )

    chain: str = Field(min_length=1, description="the registry's name of the chain to watch")
    registry_path: Path = Field(description="the deployment's registry file")
    provider_urls: list[str] = Field(
        min_length=1, description='JSON list of node URLs, e.g. ["http://a","http://b"]'
    )
    provider_quorum: int = Field(
        default=0, ge=0, description="how many providers must agree; 0 means more than half"
    )
    poll_seconds: float = Field(
        default=0.2, gt=0, le=60, description="how often the final head is asked for"
    )
    progress_seconds: float = Field(
        default=1.0, gt=0, le=60, description="how often burns that are not final are looked at"
    )
    page_limit: int = Field(default=1_000, ge=1, le=10_000, description="observations per page")
