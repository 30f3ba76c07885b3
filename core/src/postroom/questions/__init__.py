"""Questions as agents work on them and as programs see them; the people who write."""
