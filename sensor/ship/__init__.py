"""From durable batches to the plane: a bounded spool on disk, and the stream that empties it."""
