"""Every environment variable of the gateway."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from xstock_runtime.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """The partner API's process; variables begin with XSTOCK_GATEWAY_."""

    model_config = SettingsConfigDict(
        env_prefix="XSTOCK_GATEWAY_",
        extra="ignore",
        env_ignore_empty=False,
        hide_input_in_errors=True,
    )

    registry_path: Path = Field(description="the deployment's registry file")
    providers: dict[str, list[str]] = Field(
        description='JSON {chain: [node URLs]}, for building burns, e.g. {"bnb":["http://a"]}'
    )
    watchers: dict[str, str] = Field(description='JSON {chain: "host:port"} of the watchers')
    guards: dict[str, str] = Field(
        default_factory=dict,
        description='JSON {guard id: "host:port"}; what is not named here is in the registry',
    )
    relayer: str = Field(
        default="", description='"host:port" of the relayer; empty: CancelTransfer is refused'
    )
    token_key: SecretStr = Field(
        min_length=32, description="secret that seals resume and page tokens; keep it over restarts"
    )
    retention_days: int = Field(
        default=30, ge=1, le=3650, description="how long the journal reaches back"
    )
    stream_progress_seconds: float = Field(
        default=10.0, gt=0, le=60, description="a quiet stream says at least this often it is alive"
    )
    stream_slow_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="how long one frame may wait for its reader"
    )
    errors_url: str = Field(
        default="docs/errors.md", description="where the Help links of errors point to"
    )
