"""What is new in a reply, told from what it quotes."""
