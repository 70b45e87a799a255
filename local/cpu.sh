# How training on a CPU shares the machine and its memory. Sourced.
# shellcheck shell=bash
# Threads that wait for each other by spinning lose most of their speed when another process wants a core.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
# Each step frees and takes the same large blocks; giving them back to the system costs a CPU a quarter of its speed.
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_:-0} MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456}
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-34359738368}
