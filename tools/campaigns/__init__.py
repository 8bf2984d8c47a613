"""Campaigns: tests that take too long to run with all others, and whose figures are reported."""
