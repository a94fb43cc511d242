"""The loop: a campaign's spec, its steps, the reasoners and the tests of their hypotheses."""
