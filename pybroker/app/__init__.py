"""The composition root: the only room that knows everyone."""

from pybroker.app.announcement import Announcement
from pybroker.app.broker import Broker
from pybroker.app.serving import serve

__all__ = ["Announcement", "Broker", "serve"]
