"""The way out of a sandbox: a proxy that judges where a request goes by the address it dials."""
