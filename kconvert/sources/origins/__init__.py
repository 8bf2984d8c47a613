"""Origins: where the clips and the annotations of a release come from, and how they are laid out there."""
