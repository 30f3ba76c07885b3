"""The entry point: describes what the plugin offers, loads nothing heavy."""
