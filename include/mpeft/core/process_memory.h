#pragma once

namespace mpeft {

/// Tells the C library's allocator to keep what is freed for the next request, for blocks below 32 MiB and up to 1 GiB
/// in all. A program calls it first thing in main. Does nothing where the C library is not glibc.
///
/// LibTorch frees and allocates the same tensors each step; by default glibc hands memory that comes to lie free at the
/// end of its heap back to the kernel, and gets it again with a page fault and 4 KiB of zeros per 4 KiB used. What that
/// costs, and what keeping it costs in peak memory, stands in src/README.md.
void keep_freed_memory();

}  // namespace mpeft
