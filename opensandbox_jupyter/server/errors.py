"""What the server refuses, and how it says so."""

from __future__ import annotations

__all__ = ["Refusal", "not_found", "start_failed", "unavailable", "unsupported"]


class Refusal(Exception):
    """An answer that is not the documented success: an HTTP status, a code and one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def not_found(sandbox_id: str) -> Refusal:
    """Return the refusal for a sandbox that is not there (any more)."""
    return Refusal(404, "DOCKER::SANDBOX_NOT_FOUND", f"There is no sandbox {sandbox_id!r}.")


def unsupported(what: str, status: int = 501) -> Refusal:
    """Return the refusal for something that the embedded server does not do."""
    return Refusal(
        status, "SANDBOX::API_NOT_SUPPORTED", f"The embedded server does not support {what}."
    )


def unavailable(message: str) -> Refusal:
    """Return the refusal for a host that cannot isolate a sandbox."""
    return Refusal(503, "DOCKER::INITIALIZATION_ERROR", message)


def start_failed(message: str, status: int = 500) -> Refusal:
    """Return the refusal of a sandbox that did not come to life."""
    return Refusal(status, "DOCKER::SANDBOX_START_FAILED", message)
