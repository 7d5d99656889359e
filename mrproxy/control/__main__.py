"""Shell. `python -m mrproxy.control` prints docs/api.md."""

import sys

from mrproxy.clock import utc_now
from mrproxy.control.api.reference import reference
from mrproxy.control.assembly import tables
from mrproxy.telemetry.log import open_log

sys.stdout.write(reference(tables(utc_now, open_log(sys.stderr.fileno(), utc_now, "documentation"))))
