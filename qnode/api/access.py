"""Who may ask for what: API keys, and tokens that are signed with one.

A request shows a key in the header `api-key`, or as `Authorization: Bearer …`. The full keys may do everything, the read-only one
may read everything. With `jwt_rbac`, a JWT (RFC 7519, HS256, signed with a full key) says what its bearer may do: read (`r`) or manage
(`m`) everything, or, for named collections, read (`r`), write (`rw`), or read and write points alone (`prw`).

What a request needs follows from its method and path alone (`need_of`), before anything of its body is read. What a body names
besides – another collection to look vectors up in – is checked where it is found (`Access.check_collection`). Keys are compared in
constant time. Version and health are open to all, so that balancers and probes need no key.
"""

from __future__ import annotations

import hmac
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import jwt

from qnode.errors import Forbidden, QnodeError, Unauthorized, Untrusted
from qnode.models import reading
from qnode.models.filter import Filter
from qnode.models.filter_json import parse_filter

LEEWAY_SECONDS: Final = 30
"""A token is taken for so long after its end: clocks differ."""

_OPEN: Final = frozenset({"/", "/healthz", "/livez", "/readyz"})
_POINT_READS: Final = frozenset(
    {
        "points",
        "points/scroll",
        "points/count",
        "points/query",
        "points/query/batch",
        "points/query/groups",
        "points/search",
        "points/search/batch",
        "points/search/groups",
        "points/search/matrix/pairs",
        "points/search/matrix/offsets",
        "points/recommend",
        "points/recommend/batch",
        "points/recommend/groups",
        "points/discover",
        "points/discover/batch",
        "facet",
    }
)
"""What reads points although its method is POST."""

_ALGORITHMS: Final = ["HS256"]
_CHECKED: Final[jwt.types.Options] = {
    "verify_aud": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_jti": False,
    "verify_nbf": False,
    "verify_sub": False,
}
"""Of what RFC 7519 names, the signature and the end alone."""

Finding = Callable[[str, Filter], Awaitable[bool]]
"""Tells whether a collection has a point that passes a filter."""


class Level(Enum):
    """How much of something may be done."""

    READ = "r"
    POINTS = "prw"
    WRITE = "rw"
    MANAGE = "m"


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs: a level, of one collection or (None) of the whole node. `beyond`: of more than its points."""

    level: Level
    collection: str | None = None
    beyond: bool = False


ANYTHING: Final = Need(Level.READ, "")
"""Needed where the answer itself shows only what may be seen."""


_MANAGE: Final = Need(Level.MANAGE)


@dataclass(frozen=True, slots=True)
class Access:
    """What a bearer may do: everything at one level (`all`), or something with each of some collections."""

    all: Level | None = None
    collections: tuple[tuple[str, Level], ...] = ()

    def may_see(self, collection: str) -> bool:
        """Tell whether a collection is shown to the bearer."""
        return self.all is not None or any(name == collection for name, _ in self.collections)

    def check(self, need: Need) -> None:
        """Raise Forbidden if this is not enough."""
        if self.all is not None:
            if self.all is Level.READ and need.level is not Level.READ:
                raise Forbidden("Global manage access is required")
            return
        if need is ANYTHING:
            return
        if need.collection is None:
            raise Forbidden("Global access is required")
        level = next((level for name, level in self.collections if name == need.collection), None)
        if level is None:
            raise Forbidden(f"Access to collection {need.collection} is required")
        if level is Level.READ and need.level is not Level.READ:
            raise Forbidden(f"Write access to collection {need.collection} is required")
        if level is Level.POINTS and (need.beyond or need.level is Level.WRITE):
            raise Forbidden(f"Only points access is allowed for collection {need.collection}")

    def check_collection(self, collection: str) -> None:
        """Raise Forbidden if points of this collection may not be read."""
        self.check(Need(Level.READ, collection))


EVERYTHING: Final = Access(Level.MANAGE)
_READING: Final = Access(Level.READ)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a node; an empty one is as good as none."""

    full: tuple[str, ...] = ()
    read_only: str | None = None
    accepts_tokens: bool = False


class Guard:
    """Lets requests in. `has_point` is asked about tokens that are good only as long as a point is there."""

    def __init__(self, keys: Keys, has_point: Finding) -> None:
        assert keys.full or keys.read_only
        self._keys = keys
        self._has_point = has_point

    def known(self, shown: str | None) -> Access | None:
        """Give what a key may do; None if it is none of the node's keys."""
        if shown is None:
            return None
        given = shown.encode()
        if any(hmac.compare_digest(key.encode(), given) for key in self._keys.full):
            return EVERYTHING
        if self._keys.read_only and hmac.compare_digest(self._keys.read_only.encode(), given):
            return _READING
        return None

    async def admit(self, shown: str | None, method: str, path: str) -> Access:
        """Let a request in, or raise Unauthorized, Untrusted or Forbidden."""
        if path in _OPEN:
            return EVERYTHING
        if shown is None:
            raise Unauthorized("Must provide an API key or an Authorization bearer token")
        access = self.known(shown)
        if access is None:
            access = await self._of_token(shown)
        access.check(need_of(method, path))
        return access

    async def _of_token(self, shown: str) -> Access:
        claims = self._claims(shown) if self._keys.accepts_tokens else None
        if claims is None:
            raise Unauthorized("Invalid API key or JWT")
        try:
            access, condition = _access_of(claims), _condition_of(claims)
        except (KeyError, TypeError, ValueError, QnodeError):
            raise Untrusted("Invalid JWT: its claims cannot be read") from None
        if condition is not None and not await self._has_point(*condition):
            raise Unauthorized("Invalid JWT, stateful validation failed")
        return access

    def _claims(self, shown: str) -> dict[str, Any] | None:
        """Read a token that one of the full keys has signed; None if it is no token at all."""
        for key in self._keys.full:
            try:
                with warnings.catch_warnings(action="ignore", category=jwt.InsecureKeyLengthWarning):  # told at start
                    claims: dict[str, Any] = jwt.decode(
                        shown, key, algorithms=_ALGORITHMS, leeway=LEEWAY_SECONDS, options=_CHECKED
                    )
            except jwt.ExpiredSignatureError:
                raise Untrusted("ExpiredSignature") from None
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError:
                return None
            return claims
        raise Untrusted("InvalidSignature")


def credential(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Find the key or token that a request shows."""
    bearer = None
    for name, value in headers:
        if name == b"api-key":
            return value.decode("latin-1")
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip().decode("latin-1")
    return bearer


def need_of(method: str, path: str) -> Need:
    """Tell what a request needs; `path` is decoded. What is not known here needs to manage, or to read, the whole node."""
    room, _, rest = path.strip("/").partition("/")
    if room == "collections":
        if not rest:
            return ANYTHING
        name, _, rest = rest.partition("/")
        if name == "aliases" and method == "POST" and not rest:
            return _MANAGE
        return _need_of_collection(method, name, rest)
    if path == "/aliases" and method == "GET":
        return ANYTHING
    return Need(Level.READ) if method in ("GET", "HEAD") else _MANAGE


def _need_of_collection(method: str, name: str, rest: str) -> Need:
    area = rest.partition("/")[0]
    reads = method in ("GET", "HEAD")
    if area in ("points", "facet"):
        reads = reads or (method == "POST" and rest in _POINT_READS)
        return Need(Level.READ if reads else Level.POINTS, name)
    if area in ("index", "vectors"):
        return Need(Level.WRITE, name)
    if area == "snapshots" or "/snapshot" in rest:
        if rest.endswith(("/recover", "/upload")):
            return _MANAGE
        return Need(Level.READ if reads else Level.WRITE, name, beyond=True)
    return Need(Level.READ, name, beyond=area not in ("", "exists", "aliases")) if reads else _MANAGE


def _access_of(claims: dict[str, Any]) -> Access:
    granted = claims.get("access", Level.MANAGE.value)
    if isinstance(granted, str):
        level = Level(granted)
        if level not in (Level.READ, Level.MANAGE):
            raise ValueError(granted)
        return Access(level)
    collections = tuple((one["collection"], Level(one["access"])) for one in granted)
    if any(level is Level.MANAGE or not isinstance(name, str) for name, level in collections):
        raise ValueError(granted)
    return Access(None, collections)


def _condition_of(claims: dict[str, Any]) -> tuple[str, Filter] | None:
    """Read which point must be there: `{"collection": …, "matches": [{"key": …, "value": …}]}`."""
    wanted = claims.get("value_exists")
    if wanted is None:
        return None
    conditions = [{"key": match["key"], "match": {"value": match["value"]}} for match in wanted["matches"]]
    return reading.text(wanted["collection"]), parse_filter({"must": conditions})
