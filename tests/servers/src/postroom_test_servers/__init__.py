"""Real servers on loopback for tests: Dovecot, SMTP, PostgreSQL, and a private CA."""
