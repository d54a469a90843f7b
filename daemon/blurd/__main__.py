"""`python -m blurd`: the command line."""

import sys

from blurd.cli import main

sys.exit(main())
