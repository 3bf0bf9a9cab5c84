"""`python -m muster`, which is what launchers start."""

from muster.cli import main

main()
