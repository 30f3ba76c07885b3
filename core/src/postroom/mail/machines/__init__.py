"""The mail of machines recognised, and what their reports say."""
