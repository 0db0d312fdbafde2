"""What the plane keeps: entities as rows, raw events as segments, in one database so that both commit together.

`Store` (store.py) is the door. Writing goes through one writer thread in groups (writer.py); reading is blocking and
meant for threads (entities.py, events.py). See schema.py for the tables and segments.py for the format of events.
"""
