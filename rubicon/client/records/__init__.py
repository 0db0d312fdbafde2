"""What the client returns: plain frozen values, made from messages of the wire. A noun a file.

Times are aware datetimes in UTC (microseconds); where an order of nanoseconds matters there is a `…_ns` beside them
(nanoseconds since 1970). Enumerations are lower-case words. What is not known is None, an empty text or 0.
"""
