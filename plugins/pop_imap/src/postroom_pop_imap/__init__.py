"""postroom-pop-imap."""
