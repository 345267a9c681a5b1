#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "mpeft/model/inference_cache.h"

namespace mpeft::ops {
struct SelectiveScanArgs;
}

namespace mpeft::model {

class MambaMixerImpl;

/// What a PEFT method puts on the convolution and the scan of a mixer. The mixer calls the hooks in the order in which
/// they stand here; the defaults change nothing. Of several adapters each sees what the ones before it left.
class ScanAdapter {
 public:
  virtual ~ScanAdapter() = default;

  /// What a text starts from: called before its first token, never where a cache continues. `start` comes undefined
  /// (zeros) or as an earlier adapter left it; its rows are 1, shared by the batch. `dtype`: of the activations, which
  /// start.conv has; start.scan is fp32 (fp64 with fp64).
  virtual void change_start(MambaMixerImpl& mixer, LayerState& start, at::ScalarType dtype);

  /// A_log (d_inner, d_state) as the scan shall see it; the mixer then takes A = -exp(A_log). At every call.
  virtual at::Tensor change_A_log(const at::Tensor& A_log);

  /// All else that the scan reads: state and output offsets, transforms of B and C. At every call, prompts and single
  /// steps alike. Small tensors are fp32 (fp64 with fp64) on the activations' device.
  virtual void change_scan(ops::SelectiveScanArgs& scan);
};

}  // namespace mpeft::model
