"""What people do with an SDK, step by step: the same for the vendor's and ours, in each colour.

``python -m scenarios`` runs it; see ``__main__``. It does with what the vendor environment has.
"""
