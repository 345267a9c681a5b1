#include "kernels/selective_scan/bwd_launch.cuh"

namespace mpeft::kernels {

template int64_t selective_scan_bwd_workspace_bytes(const SelectiveScanBwdParams<__half>&);
template cudaError_t launch_selective_scan_bwd(const SelectiveScanBwdParams<__half>&, void*, cudaStream_t);

}  // namespace mpeft::kernels
