"""Early convolutions help transformers see better (2106.14881): a stem of small convolutions in place of patches."""
