"""The simulated laboratories that come with Athanor: one module, one profile and one ready campaign each."""
