"""Rows x points become jobs, and jobs a plan that knows calls and cost before any call."""
