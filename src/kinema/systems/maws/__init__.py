"""MAE pre-pretraining for billion-scale pretraining (2303.13496): masked autoencoding, then hashtags, then transfer."""
