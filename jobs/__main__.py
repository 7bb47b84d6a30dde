"""``python -m jobs`` is ``tomoatlas``."""

import sys

from jobs.cli import main

sys.exit(main())
