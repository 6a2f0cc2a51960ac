"""The only place that waits: one driver for ``await``, one for blocking calls."""
