#include "kernels/selective_scan/bwd_launch.cuh"

namespace mpeft::kernels {

template int64_t selective_scan_bwd_workspace_bytes(const SelectiveScanBwdParams<__nv_bfloat16>&);
template cudaError_t launch_selective_scan_bwd(const SelectiveScanBwdParams<__nv_bfloat16>&, void*, cudaStream_t);

bool selective_scan_bwd_takes_roles(const SelectiveScanBwdParams<__nv_bfloat16>& p) {
  return bwd::takes_tiles(p) &&
         bwd::with_shape(p, [](auto shape, auto, auto) { return std::is_same_v<decltype(shape), BwdRolesShape>; });
}

}  // namespace mpeft::kernels
