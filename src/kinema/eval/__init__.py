"""Metrics and benches: how near generated media come to what was asked, with intervals."""
