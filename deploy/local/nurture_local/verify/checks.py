"""The checks by their names. Each is a pure function from a snapshot, and what else it needs, to a verdict."""

from nurture_local.verify.analytics import c11_analytics
from nurture_local.verify.duplicates import c1_duplicates
from nurture_local.verify.leaks import c12_bus, c13_secrets, c14_resources
from nurture_local.verify.liveness import c8_liveness
from nurture_local.verify.loss import c2_loss
from nurture_local.verify.numbers import c11_counts
from nurture_local.verify.projections import c6_projections, c7_order
from nurture_local.verify.timing import c9_suppression, c10_schedule
from nurture_local.verify.truth import c3_truth, c4_phantoms, c5_window

__all__ = [
    "c1_duplicates", "c2_loss", "c3_truth", "c4_phantoms", "c5_window", "c6_projections", "c7_order", "c8_liveness",
    "c9_suppression", "c10_schedule", "c11_analytics", "c11_counts", "c12_bus", "c13_secrets", "c14_resources",
]  # fmt: skip
