"""A scorer whose whole memory is one struct: how it is written down and read back."""

from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class Kept(Generic[S]):
    """Holds `_state`, of the type that `_kind` names; a new one begins empty."""

    _kind: ClassVar[type[msgspec.Struct]]
    _state: S

    def state(self) -> Any:
        """What msgpack writes: the struct itself, which it writes as lists, so nothing is copied for a snapshot."""
        return self._state

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """The scorer of a `state()`.

        Raises:
            ValueError: It is none.
        """
        kept = cls()
        kept._state = cast("S", msgspec.convert(state, cls._kind))
        return kept
