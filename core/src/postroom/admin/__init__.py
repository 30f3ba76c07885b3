"""What administrators do with a whole installation, a module for each task."""
