"""The Jupyter face: ``%sandbox``, ``%sandbox_exec`` and ``%%sandbox_exec``.

``%load_ext opensandbox_jupyter`` leads to :func:`~opensandbox_jupyter.magics.extension.load`.
"""
