"""What kill, freeze, isolate and release share: whom they mean, asking about many at once, and showing what became of it."""
