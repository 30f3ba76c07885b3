"""What administrators set up: mailboxes and their sides, segments, filters; and what is known of
the messages on their servers."""
