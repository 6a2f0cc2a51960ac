"""What a sandbox shall be, in words of no protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import InvalidArgumentException

if TYPE_CHECKING:
    from opensandbox_jupyter.models.sandboxes import (
        NetworkPolicy,
        PlatformSpec,
        SandboxImageSpec,
        SandboxLifecycle,
        Volume,
    )
    from opensandbox_jupyter.models.vault import CredentialProxyConfig

__all__ = ["SandboxSpec"]


@dataclass(frozen=True)
class SandboxSpec:
    """A sandbox that is wanted; fields as in ``Sandbox.create``.

    Raises:
        InvalidArgumentException: when they go against each other.
    """

    image: SandboxImageSpec | str | None = None
    snapshot_id: str | None = None
    template_id: str | None = None
    timeout: timedelta | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    metadata: Mapping[str, str] | None = None
    resource: Mapping[str, str] | None = None
    resource_requests: Mapping[str, str] | None = None
    platform: PlatformSpec | None = None
    network_policy: NetworkPolicy | None = None
    extensions: Mapping[str, str] | None = field(default=None, repr=False)
    secure_access: bool = False
    entrypoint: Sequence[str] | None = None
    volumes: Sequence[Volume] | None = None
    credential_proxy: CredentialProxyConfig | None = None
    lifecycle: SandboxLifecycle | None = None

    def __post_init__(self) -> None:
        if self.template_id is not None:
            if not self.template_id.strip():
                raise InvalidArgumentException("The template id is empty.")
        elif (self.image is None) == (self.snapshot_id is None):
            raise InvalidArgumentException(
                "Give an image or a snapshot_id, one of the two.",
                hint='For example "python:3.11".',
            )
        if isinstance(self.image, str) and not self.image.strip():
            raise InvalidArgumentException("The name of the image is blank.")
        if self.snapshot_id is not None and not self.snapshot_id.strip():
            raise InvalidArgumentException("The snapshot id is empty.")
        if isinstance(self.entrypoint, str):
            raise InvalidArgumentException(
                "entrypoint must be a list of words.", hint=f"Use [{self.entrypoint!r}]."
            )
