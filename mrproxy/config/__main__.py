"""Shell. `python -m mrproxy.config` prints docs/configuration.md."""

import sys

from mrproxy.config.describe import markdown

sys.stdout.write(markdown())
