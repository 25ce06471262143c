"""Topics by regular expression: RE2, whose time is linear in the text, whatever a client sends."""

from collections import OrderedDict
from typing import Any

from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode

MAX_KEPT = 1000
"""Expressions that are kept compiled, with what they match."""


class _Matches:
    """One expression, and the topics that matched and did not match when it was last asked for."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.version = -1
        self.looked_at: frozenset[str] = frozenset()
        self.topics: frozenset[str] = frozenset()


class TopicRegexes:
    """Finds topics by regular expression; the names that are there already are not searched a second time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Matches] = OrderedDict()

    def check(self, regex: str) -> None:
        """Raises:
        ApiError: INVALID_REGULAR_EXPRESSION.
        """
        self._find(regex)

    def topics(self, regex: str, image: ClusterImage) -> frozenset[str]:
        """The topics whose whole name matches.

        Raises:
            ApiError: INVALID_REGULAR_EXPRESSION.
        """
        found = self._find(regex)
        if found.version != image.version:
            names = frozenset(image.topics)
            if names != found.looked_at:
                fullmatch = found.compiled.fullmatch
                fresh = {name for name in names - found.looked_at if fullmatch(name)}
                found.topics = (found.topics & names) | fresh
                found.looked_at = names
            found.version = image.version
        return found.topics

    def _find(self, regex: str) -> _Matches:
        found = self._kept.get(regex)
        if found is None:
            found = self._kept[regex] = _Matches(_compile(regex))
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(regex)
        return found


def _compile(regex: str) -> Any:
    import re2  # only groups that subscribe by expression need it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(regex, options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ApiError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            f"SubscribedTopicRegex `{regex}` is not a valid regular expression: {text}.",
        ) from None
