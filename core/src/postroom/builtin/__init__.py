"""What is built in, on the same hooks as any plugin; each can be switched off by its name."""
