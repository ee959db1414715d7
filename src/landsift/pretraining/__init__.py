"""Self-supervised pretraining: a backbone that learns from patches without their labels."""

from landsift.extras import needs

needs("lightly", extra="pretrain", what="pretraining")
