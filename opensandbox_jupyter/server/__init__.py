"""The lifecycle server of the embedded OpenSandbox: one per user, on loopback."""
