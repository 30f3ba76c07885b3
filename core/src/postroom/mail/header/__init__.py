"""The header of a mail: its fields, and the values that they hold."""
