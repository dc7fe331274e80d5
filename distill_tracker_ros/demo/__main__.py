"""python -m distill_tracker_ros.demo"""

import sys

from .run import main

sys.exit(main())
