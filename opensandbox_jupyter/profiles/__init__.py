"""The profile file: which servers there are, by name, and how each is reached.

::

    profile = "work"            # the profile in use; ours alone

    [connection]                # the profile called "default", shared with the command line ``osb``
    domain = "localhost:8080"
    api_key = "..."

    [profiles.work]             # ours alone
    domain = "sandboxes.example.com"
    protocol = "https"
    api_key_in_keyring = "work-3f9a..."

A profile says only what it wants to; the rest comes from ``[connection]``. An empty ``domain``
means the embedded server. ``reading`` is light, for each connection; ``writing`` changes the file.
"""

from opensandbox_jupyter.profiles.reading import (
    DEFAULT,
    PROFILE_VARIABLE,
    Chosen,
    Profile,
    choose,
    current_name,
    list_profiles,
    profile_path,
)

__all__ = [
    "DEFAULT",
    "PROFILE_VARIABLE",
    "Chosen",
    "Profile",
    "choose",
    "current_name",
    "list_profiles",
    "profile_path",
]
