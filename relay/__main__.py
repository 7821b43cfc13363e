"""`python -m relay` and the `relay` command."""

from relay.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
