#include "kernels/selective_scan/fwd_launch.cuh"

namespace mpeft::kernels {

template cudaError_t launch_selective_scan_fwd(const SelectiveScanFwdParams<__nv_bfloat16>&, cudaStream_t);

cudaError_t launch_selective_scan_fwd_roles(const SelectiveScanFwdParams<__nv_bfloat16>& p, int shape,
                                            cudaStream_t stream) {
  if (!fwd::is_in_range(p) || shape < 0 || shape >= kSelectiveScanRolesShapes) return cudaErrorInvalidValue;
  if (p.batch == 0 || p.d_inner == 0) return cudaSuccess;
  if (p.d_state != 16 || has_terms(p) || !fwd::takes_tiles(p) || !fwd::device_takes_roles()) {
    return cudaErrorNotSupported;
  }
  return fwd::roles_choices(p)[static_cast<size_t>(shape)].launch(p, stream);
}

}  // namespace mpeft::kernels
