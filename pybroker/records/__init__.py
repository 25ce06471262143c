"""Record batches: their layout, validation, compression, building, and the two older message formats.

Pure functions over bytes. Nothing here knows a socket, a file or a topic's place in the cluster.
"""
