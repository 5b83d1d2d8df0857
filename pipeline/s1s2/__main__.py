"""`python -m s1s2` is the command line."""

from s1s2.cli import entry

entry()
