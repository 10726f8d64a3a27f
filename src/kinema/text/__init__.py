"""Prompts into token states: tokenisers and text encoders."""
