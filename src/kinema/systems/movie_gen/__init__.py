"""Movie Gen, a suite of media foundation models (2410.13720): one room for each model."""
