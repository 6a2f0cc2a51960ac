"""Numbers and names that client and server share. Defined by the OpenSandbox API."""

from __future__ import annotations

DEFAULT_EXECD_PORT = 44772
"""The port of execd, the daemon inside a sandbox."""

DEFAULT_EGRESS_PORT = 18080
"""The port of the egress sidecar."""

API_KEY_HEADER = "OPEN-SANDBOX-API-KEY"
"""Carries the key to the lifecycle server, as it is, without a scheme."""

EXECD_TOKEN_HEADER = "X-EXECD-ACCESS-TOKEN"  # noqa: S105  # a header's name, not a secret
"""Carries a sandbox's own token to its execd."""

REQUEST_ID_HEADER = "X-Request-ID"
"""Names a request in the lifecycle server's log; sent or made, and always echoed."""

EVENT_STREAM = "text/event-stream"
"""The media type of output that comes as events."""

LOGS_CURSOR_HEADER = "EXECD-COMMANDS-TAIL-CURSOR"
"""The byte offset at which the next read of a background command's log starts."""

OUTPUT_HEADER = "OPENSANDBOX-OUTPUT"
"""Our own: ``chunks`` asks execd for output events of many lines instead of one a line."""

PATHS_HEADER = "OPENSANDBOX-PATHS"
"""Our own: ``literal`` asks execd to take ``~`` and ``$NAME`` in paths as they are."""

WHEN_LEFT_HEADER = "OPENSANDBOX-WHEN-LEFT"
"""Our own: what execd does with a run whose client has left: ``go-on``, or ``hold`` its output."""

ISOLATED_CURSOR_HEADER = "EXECD-ISOLATED-TAIL-CURSOR"
"""The same for the log of a background run in an isolated session."""

NESTING_EXTENSION = "bootstrap.execd.isolation"
RENEWAL_EXTENSION = "access.renew.extend.seconds"
"""The extension of a create that, with the value ``enable``, lets isolated sessions be opened."""
