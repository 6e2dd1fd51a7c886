"""`python -m painters_interp` is `painters`."""

from .cli import main

main()
