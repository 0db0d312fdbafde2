"""The launch profile: what CMD may not do. `lists` says it, once, for `rubicon run` and for containers alike."""
