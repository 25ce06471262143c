"""Groups of the consumer protocol (KIP-848): the broker assigns, members follow at their own pace.

``state`` is the vocabulary, ``changes`` what a group's log is made of, ``group`` the state that follows.
``coordinator`` takes the calls, each a ``draft`` that ``heartbeat``, ``membership``, ``classic_members`` and
``migration`` fill; ``reconciliation``, ``assignors``, ``topics`` and ``regexes`` are what they reckon with.
"""
