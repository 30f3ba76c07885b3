"""postroom: mail intake for helpdesks.

Nothing heavy is imported here: `postroom --help` pays for every line.
"""

__version__ = "0.1.0"
