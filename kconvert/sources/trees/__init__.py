"""Trees of files: clips that lie in folders, on a disk, in a bucket or in a zip file."""
