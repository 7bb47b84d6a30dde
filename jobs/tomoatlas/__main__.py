"""``python -m tomoatlas`` is ``tomoatlas``."""

import sys

from .jobs.cli import main

sys.exit(main())
