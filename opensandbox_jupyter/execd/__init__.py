"""execd: the daemon inside each sandbox. Commands, files, metrics, and a way to its ports.

All work happens in the sandbox's own namespaces with the sandbox's own rights, so there is no path
to check here. It imports nothing of the package but its words (floor 0).
"""
