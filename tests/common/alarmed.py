"""One of two processes that meet at a port, started by test_alarm.py.

`python alarmed.py INDEX PORT FAILING...`: those of the numbers FAILING end with exit code 3; one
that isn't among them waits for what never comes, as a device's sum can.
"""

import sys
import time

from common import alarm
from common.process import Cluster, join, joined

INDEX, PORT, FAILING = int(sys.argv[1]), sys.argv[2], {int(text) for text in sys.argv[3:]}

alarm.LOOK_SECONDS = 0.2
join(Cluster(f"127.0.0.1:{PORT}", 2, INDEX))
heard = joined()
assert heard is not None
if INDEX in FAILING:
    if len(FAILING) == 1:
        alarm.MEET_SECONDS = 0.5
    print(f"error of {INDEX}", file=sys.stderr)
    heard.end(3)
    print("together")
    sys.exit(3)
print("joined", flush=True)
time.sleep(100)
