"""Lets ``python -m postroom`` do what ``postroom`` does."""

from postroom.cli import main

if __name__ == "__main__":
    main()
