"""The way out: mail of ours is composed, queued, and sent so that each goes out once."""
