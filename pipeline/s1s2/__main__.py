"""`python -m s1s2` is the command line."""

import sys

from s1s2.cli import main

sys.exit(main())
