"""The peer channel: what nodes say to each other, over one authenticated connection to each.

It knows neither raft nor shards.
"""

from qnode.channel.answering import IncomingStream
from qnode.channel.calling import OutgoingStream
from qnode.channel.channel import Channel
from qnode.channel.connection import Network
from qnode.channel.credentials import Certificates, Credentials, loopback_only, with_certificates, with_key
from qnode.channel.failures import LinkBroken, Unreached
from qnode.channel.limits import Limits, limits_for_requests_of

__all__ = [
    "Certificates",
    "Channel",
    "Credentials",
    "IncomingStream",
    "Limits",
    "LinkBroken",
    "Network",
    "OutgoingStream",
    "Unreached",
    "limits_for_requests_of",
    "loopback_only",
    "with_certificates",
    "with_key",
]
