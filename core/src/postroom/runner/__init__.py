"""Takes what is due: visits to mailboxes, in and out, for ever or once."""
