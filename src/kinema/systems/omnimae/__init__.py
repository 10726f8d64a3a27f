"""OmniMAE (2206.08356): one plain vision transformer, pre-trained by masking images and clips together."""
