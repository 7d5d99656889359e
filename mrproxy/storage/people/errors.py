"""Pure. Why something was not done to an entity, whatever it is: group, user, key, backend, model.

    EntityError
    ├── NotFound     there is none such
    ├── Taken        another one has this name, address, digest
    ├── Changed      it is not any more what the caller looked at
    ├── InUse        others refer to it
    ├── NotAllowed   a rule says no, whoever asks
    └── Invalid      a value that cannot be

Messages are sentences that may be shown to the one who asked. Nothing was written when one of these is raised and
the transaction, as it should, ends with it.
"""


class EntityError(Exception):
    """The message is one sentence."""


class NotFound(EntityError):
    """`kind` is a word: user, group, key."""

    def __init__(self, kind: str, entity: object) -> None:
        super().__init__(f"there is no {kind} {entity}")
        self.kind = kind
        self.entity = str(entity)


class Taken(EntityError):
    """`field` is what must be unique and is not."""

    def __init__(self, field: str, value: object = "") -> None:
        super().__init__(f"{field} {value!r} is taken" if value != "" else f"this {field} is taken")
        self.field = field


class Changed(EntityError):
    """Somebody else was quicker. `current_version` is what it is at now."""

    def __init__(self, current_version: int) -> None:
        super().__init__(f"it has been changed in the meantime; its version is {current_version} now")
        self.current_version = current_version


class InUse(EntityError):
    """The message says by what."""


class NotAllowed(EntityError):
    """`reason` is the message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Invalid(EntityError):
    """`field` as it is called in the values; `reason` goes behind it: `name must not be empty`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason
