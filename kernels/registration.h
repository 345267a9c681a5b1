#pragma once

namespace mpeft::ops {

/// Does nothing; a call to it keeps this library, and with it the registration of every operator, in the program
/// (linkers drop libraries and archive members that nobody refers to).
void ensure_registered();

/// True when the library was built with CUDA kernels.
bool built_with_cuda();

}  // namespace mpeft::ops
