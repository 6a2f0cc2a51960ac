"""``python -m opensandbox_jupyter.cli``."""

import sys

from opensandbox_jupyter.cli import main

sys.exit(main())
