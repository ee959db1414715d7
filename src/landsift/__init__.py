"""landsift: from labelled satellite patches to a tested, calibrated land-use classifier."""

__version__ = "0.1.0"
