"""Which peer holds what: decisions that read the topology and name commands, and do nothing themselves.

The same topology and liveness give the same decisions. What is decided may be outdated when it is proposed; the guards of
the commands see to that, so nothing here needs to be right about anything but what it was told.
"""

from qnode.shards.placement.draining import Move, plan_drain
from qnode.shards.placement.placing import Load, loads, place
from qnode.shards.placement.reconciling import ReconcileSettings, reconcile

__all__ = ["Load", "Move", "ReconcileSettings", "loads", "place", "plan_drain", "reconcile"]
