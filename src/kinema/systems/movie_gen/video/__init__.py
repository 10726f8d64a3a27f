"""Movie Gen Video: a transformer that makes clips from text by flow matching in a latent space."""
