"""Understanding messages: from bytes to what they say, their identity, and packed bytes.

The costliest step of intake, and the one that hostile mail aims at. `understood` does it in place;
`pool` does it in processes beside, so that retrieval goes on meanwhile on other cores, and a
message that makes the parser hang, crash or eat memory harms only itself.
"""
