#pragma once

namespace mpeft {

/// Tells the C library's allocator to keep what is freed for the next request, for blocks below 32 MiB and up to 1 GiB
/// in all. A program calls it first thing in main. Does nothing where the C library is not glibc.
///
/// LibTorch frees and allocates the same tensors each step, and by default every block of some size comes fresh from
/// the kernel and goes back to it: a page fault and 4 KiB of zeros written per 4 KiB used. Fully fine-tuning
/// Mamba-130m on a processor spent 40 % of its time there (src/README.md has the numbers).
void keep_freed_memory();

}  // namespace mpeft
