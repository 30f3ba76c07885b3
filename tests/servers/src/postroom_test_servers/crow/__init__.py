"""A mail service of our own invention, with its transport: the smallest that keeps the contract.

The conformance kit's own tests have it pass everything, and break it in one place each time.
"""
