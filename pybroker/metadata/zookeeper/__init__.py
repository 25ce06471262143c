"""ZooKeeper behind the store's port, through kazoo, which no module outside of this package knows.

``link`` is kazoo turned into a stream of plain values, with its ``handler`` made ours and a ``translation``
of what it says; ``session`` is the trio side of it, the adapter of the port; ``loop_guard`` watches the trio
loop; ``settings`` and ``tls`` are the configuration; ``acls`` says who may read and write a node;
``whole_tree`` is for tools that run beside no broker.
"""
