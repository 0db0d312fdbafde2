"""From the kernel's ring to durable batches: decode, order, enrich, count what was lost, and read what ran before
enrolment."""
