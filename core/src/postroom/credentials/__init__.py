"""Named secrets, the tokens fetched with them, and what a session is lent."""
