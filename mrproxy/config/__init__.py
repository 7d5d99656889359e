"""Pure. The configuration: one frozen `Settings`, loaded from a file, the environment and flags.

`settings.py` names every setting once, `tables.py` the tables of the file, `load.py` combines the sources and
`describe.py` writes docs/configuration.md.
"""

from mrproxy.config.load import DEFAULT_GROUPS, ConfigError, load
from mrproxy.config.settings import About, Settings, about, flag_of, scalar_fields, variable_of
from mrproxy.config.tables import Backend, Group, Key, LimitFields, Oidc, User

__all__ = [
    "DEFAULT_GROUPS",
    "About",
    "Backend",
    "ConfigError",
    "Group",
    "Key",
    "LimitFields",
    "Oidc",
    "Settings",
    "User",
    "about",
    "flag_of",
    "load",
    "scalar_fields",
    "variable_of",
]
