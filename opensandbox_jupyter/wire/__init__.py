"""Sans-IO protocols: what to send and how to read the answer. Nothing here waits or connects."""
