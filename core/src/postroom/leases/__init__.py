"""Who may work on which side of a mailbox, whether it still answers, and when to try again."""
