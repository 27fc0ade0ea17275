"""What peers speak about: the topics of the peer channel, one number for each. A number that was given is never given anew."""

from enum import IntEnum


class Topic(IntEnum):
    """Messages, calls and streams are numbered together."""

    RAFT = 1
    REPLICATION = 2
    JOIN = 3
    LOG_ENDS = 4
    WRITE = 5
    READ = 6
    COPY = 7
    STATUS = 8
    COPY_OFFER = 9
    SNAPSHOT_TAKE = 10
    SNAPSHOT = 11
    SEARCH = 12
    HAND_OVER = 13
    LEAVING = 14
    AILING = 15
    SNAPSHOT_SWITCH = 16
