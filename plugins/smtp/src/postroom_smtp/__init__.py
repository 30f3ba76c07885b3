"""postroom-smtp."""
