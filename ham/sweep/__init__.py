"""Whole tables of results: which experiments they have, and running them one after the other or on several GPUs."""
