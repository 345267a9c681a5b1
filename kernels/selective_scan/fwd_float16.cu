#include "kernels/selective_scan/fwd_launch.cuh"

namespace mpeft::kernels {

template cudaError_t launch_selective_scan_fwd(const SelectiveScanFwdParams<__half>&, cudaStream_t);

}  // namespace mpeft::kernels
