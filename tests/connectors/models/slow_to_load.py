"""A module that never loads."""

import threading

threading.Event().wait()
