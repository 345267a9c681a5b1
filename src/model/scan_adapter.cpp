#include "mpeft/model/scan_adapter.h"

namespace mpeft::model {

void ScanAdapter::change_start(MambaMixerImpl& /*mixer*/, LayerState& /*start*/, at::ScalarType /*dtype*/) {}

at::Tensor ScanAdapter::change_A_log(const at::Tensor& A_log) { return A_log; }

void ScanAdapter::change_scan(ops::SelectiveScanArgs& /*scan*/) {}

}  // namespace mpeft::model
