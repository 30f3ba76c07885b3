"""The way in: from a message on a server to a question in the database. Read `intake` first."""
