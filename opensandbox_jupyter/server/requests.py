"""What clients ask for, checked before anything is done."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

import msgspec

from opensandbox_jupyter.constants import NESTING_EXTENSION, RENEWAL_EXTENSION
from opensandbox_jupyter.egress.policy import OPEN, load
from opensandbox_jupyter.hosting.hooks import Hooks
from opensandbox_jupyter.server.clock import parse_stamp
from opensandbox_jupyter.server.errors import Refusal, unsupported
from opensandbox_jupyter.server.labels import check_labels, parse_filter
from opensandbox_jupyter.server.records import Record
from opensandbox_jupyter.server.volume_requests import VolumeRequest, read_volumes

__all__ = [
    "CreateSandbox",
    "ListQuery",
    "decode",
    "parse_cpu",
    "parse_memory",
    "parse_page",
    "parse_renewal",
]

_T = TypeVar("_T")
_DEFAULT_ENTRYPOINT = ["tail", "-f", "/dev/null"]
_LEAST_SECONDS = 60
_MOST_SECONDS = 100 * 365 * 86_400
_RESERVED_ENV = ("OPENSANDBOX_LIFECYCLE", "OPENSANDBOX_EGRESS_")
_SIZE = re.compile(r"(\d{1,15})\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_CPU = re.compile(r"(\d{1,9})m|(\d{1,6}(?:\.\d{1,6})?)")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LEAST_MEMORY = 32 << 20
_LEAST_RENEWAL, _MOST_RENEWAL = 300, 86_400


class _Image(msgspec.Struct):
    uri: str
    auth: msgspec.Raw | None = None


class _Platform(msgspec.Struct):
    os: Literal["linux", "windows"]
    arch: Literal["amd64", "arm64"]


class _CredentialProxy(msgspec.Struct):
    enabled: bool = False


class CreateSandbox(msgspec.Struct, rename="camel"):
    """The body of a create. Unknown keys are ignored."""

    image: _Image | None = None
    snapshot_id: str | None = None
    template_id: str | None = None
    entrypoint: list[str] | None = None
    timeout: int | None = None
    resource_limits: dict[str, str] | None = None
    env: dict[str, str | None] | None = None
    metadata: dict[str, str] | None = None
    platform: _Platform | None = None
    network_policy: dict[str, object] | None = None
    credential_proxy: _CredentialProxy | None = None
    secure_access: bool = False
    """Changes nothing: no endpoint here is open to who has not its token."""
    lifecycle: Hooks | None = None
    volumes: list[VolumeRequest] | None = None
    extensions: dict[str, str] | None = None

    @property
    def image_uri(self) -> str:
        """The image's name, "" for a snapshot. Raises: Refusal when it is neither."""
        if self.snapshot_id is not None:
            if self.image is not None:
                raise _invalid("Give one of `image` and `snapshotId`.")
            return ""
        if self.image is None or not self.image.uri.strip():
            raise _invalid("A sandbox needs `image.uri`.")
        return self.image.uri.strip()

    @property
    def fits_a_spare(self) -> bool:
        """Whether nothing is asked for that must be known before the processes start."""
        extensions = self.extensions or {}
        needs_files = self.volumes or self.snapshot_id or self.template_id
        needs_walls = extensions.get(NESTING_EXTENSION) == "enable"
        return not (needs_files or needs_walls or self._keeps_credentials)

    def record(self, sandbox_id: str, token: str, now: float, uid: int) -> Record:
        """Return the record of the sandbox that is asked for.

        Raises:
            Refusal: something asked for is wrong, or not possible here.
        """
        self._refuse_unsupported()
        limits = self._limits()
        return Record(
            id=sandbox_id,
            image=self.image_uri,
            entrypoint=self._entrypoint(),
            created=now,
            transition=now,
            token=token,
            outer_uid=uid,
            expires=None if self.timeout is None else now + self._seconds(self.timeout),
            env=self._environment(),
            metadata=self._metadata(),
            extensions=self._extensions(),
            platform=self._platform(),
            snapshot_id=self.snapshot_id,
            template_id=self.template_id,
            volumes=read_volumes(self.volumes or ()),
            cpu=parse_cpu(limits["cpu"]) if "cpu" in limits else None,
            memory=parse_memory(limits["memory"]) if "memory" in limits else None,
            disk=parse_size("disk", limits["disk"]) if "disk" in limits else None,
            network_policy=self._network_policy(),
            keeps_credentials=self._keeps_credentials,
            hooks=self.lifecycle or None,
        )

    @property
    def _keeps_credentials(self) -> bool:
        return self.credential_proxy is not None and self.credential_proxy.enabled

    def _refuse_unsupported(self) -> None:
        try:
            (self.lifecycle or Hooks()).check()
        except ValueError as error:
            raise _invalid(f"`lifecycle` is not possible: {error}") from error
        if self._keeps_credentials and self.network_policy is None:
            raise _invalid("`credentialProxy` needs a `networkPolicy`, which says what is reached.")

    def _network_policy(self) -> object:
        """Who asks for no policy gets the public internet; one without a default denies."""
        if self.network_policy is None:
            return msgspec.to_builtins(OPEN)
        try:
            return msgspec.to_builtins(load(self.network_policy))
        except ValueError as error:
            raise _invalid(str(error)) from error

    def _entrypoint(self) -> list[str]:
        entrypoint = _DEFAULT_ENTRYPOINT if self.entrypoint is None else self.entrypoint
        if not entrypoint or not entrypoint[0] or any("\0" in part for part in entrypoint):
            raise Refusal(
                400, "DOCKER::INVALID_ENTRYPOINT", "`entrypoint` must name a program to run."
            )
        return list(entrypoint)

    def _seconds(self, timeout: int) -> int:
        if not _LEAST_SECONDS <= timeout <= _MOST_SECONDS:
            raise _invalid(f"`timeout` must be at least {_LEAST_SECONDS} seconds, or null.")
        return timeout

    def _limits(self) -> dict[str, str]:
        if self.resource_limits is None:
            raise _invalid("A sandbox needs `resourceLimits`.")
        if self.resource_limits.get("gpu", "0") != "0":
            raise unsupported("GPUs", 400)
        return self.resource_limits

    def _environment(self) -> dict[str, str]:
        found = {}
        for key, value in (self.env or {}).items():
            if not key or "=" in key or "\0" in key or (value is not None and "\0" in value):
                raise _invalid(f"`env` has a name or value that no process can have: {key!r}.")
            if key.startswith(_RESERVED_ENV):
                raise _invalid(f"The variable {key} is the server's own.")
            if value is not None:
                found[key] = value
        return found

    def _metadata(self) -> dict[str, str]:
        labels = self.metadata or {}
        check_labels(labels, "SANDBOX::INVALID_METADATA_LABEL")
        return labels

    def _extensions(self) -> dict[str, str]:
        extensions = self.extensions or {}
        seconds = extensions.get(RENEWAL_EXTENSION, str(_LEAST_RENEWAL))
        is_number = re.fullmatch(r"[0-9]{1,9}", seconds) is not None
        if not is_number or not _LEAST_RENEWAL <= int(seconds) <= _MOST_RENEWAL:
            raise _invalid(
                f"{RENEWAL_EXTENSION} must be a whole number from {_LEAST_RENEWAL} to"
                f" {_MOST_RENEWAL}."
            )
        return extensions

    def _platform(self) -> dict[str, str] | None:
        wanted = self.platform
        if wanted is None:
            return None
        here = _ARCHITECTURES.get(platform.machine(), platform.machine())
        if (wanted.os, wanted.arch) != ("linux", here):
            raise _invalid(f"This host only has the platform linux/{here}.")
        return {"os": wanted.os, "arch": wanted.arch}


class ListQuery:
    """The filter of a list."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        known: dict[str, list[str]] = {}
        for key, value in pairs:
            known.setdefault(key, []).append(value)
        self.states = {state.casefold() for state in known.get("state", ())}
        self.labels = parse_filter(known.get("metadata", [""])[-1])

    def matches(self, record: Record) -> bool:
        """Whether a sandbox belongs to the list."""
        if self.states and record.state.casefold() not in self.states:
            return False
        return self.labels.items() <= record.metadata.items()


def decode(body: bytes, type_: type[_T]) -> _T:
    """Return ``body`` as ``type_``. Raises: Refusal 400 that says what is wrong."""
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise _invalid(f"The request is not understood: {error}.") from error


def parse_cpu(text: str) -> float:
    """Return the cores that ``"500m"``, ``"2"`` or ``"0.5"`` mean. Raises: Refusal 400."""
    found = _CPU.fullmatch(text.strip())
    cores = 0.0 if found is None else int(found[1]) / 1000 if found[1] else float(found[2])
    if cores <= 0:
        raise _invalid(f"`cpu` must be cores or thousandths, such as 2, 0.5 or 500m: {text!r}.")
    return max(cores, 0.01)


def parse_memory(text: str) -> int:
    """Return the bytes of memory that are meant. Raises: Refusal 400."""
    size = parse_size("memory", text)
    if size < _LEAST_MEMORY:
        raise _invalid("`memory` must be at least 32Mi, or execd itself does not fit.")
    return size


def parse_size(name: str, text: str) -> int:
    """Return the bytes that ``"512Mi"`` or ``"2G"`` mean. Raises: Refusal 400."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise _invalid(f"`{name}` must be a whole number with a unit, such as 512Mi: {text!r}.")
    base = 1024 if found[3] else 1000
    return min(int(found[1]) * int(base ** " kmgt".index(found[2].lower() or " ")), 1 << 60)


class _Renewal(msgspec.Struct, rename="camel"):
    expires_at: str


def parse_renewal(body: bytes) -> float:
    """Return the moment that a renewal asks for. Raises: Refusal 400."""
    text = decode(body, _Renewal).expires_at
    try:
        return parse_stamp(text)
    except (ValueError, OverflowError) as error:
        raise Refusal(
            400, "DOCKER::INVALID_EXPIRATION", f"`expiresAt` is no RFC 3339 time: {text[:64]!r}."
        ) from error


def parse_page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return which page of a list is asked for, and its size. Raises: Refusal 400."""
    page = _number("page", query.get("page", "1"), 2**31)
    return page, _number("pageSize", query.get("pageSize", "20"), 200)


def _number(name: str, text: str, most: int) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
    if not 1 <= number <= most:
        raise _invalid(f"`{name}` must be a whole number from 1 to {most}.")
    return number


def _invalid(message: str) -> Refusal:
    return Refusal(400, "SANDBOX::INVALID_PARAMETER", message)
