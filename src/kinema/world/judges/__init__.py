"""Judges: small networks, trained on the Small World, that read back what a clip shows and sounds like."""
