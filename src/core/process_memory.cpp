#include "mpeft/core/process_memory.h"

#include <cstdlib>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace mpeft {

void keep_freed_memory() {
#if defined(__GLIBC__)
  // The largest threshold glibc takes. Larger blocks are rare and are what a program wants back from: weights on their
  // way to a GPU, logits of a whole batch.
  constexpr int kMappedFrom = 32 << 20;
  constexpr int kMostKept = 1 << 30;
  mallopt(M_MMAP_THRESHOLD, kMappedFrom);
  mallopt(M_TRIM_THRESHOLD, kMostKept);
#endif
}

}  // namespace mpeft
