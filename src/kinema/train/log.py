"""The one logger of training."""

import logging

logger = logging.getLogger("kinema.train")
