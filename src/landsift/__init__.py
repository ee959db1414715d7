"""landsift: from labelled satellite patches to a tested, calibrated land-use classifier."""
