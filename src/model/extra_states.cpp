#include "mpeft/model/extra_states.h"

#include <ATen/ops/empty.h>

namespace mpeft::model {

ExtraStatesImpl::ExtraStatesImpl(int64_t d_inner, int64_t n_states) {
  A_log = register_parameter("A_log", at::empty({d_inner, n_states}), /*requires_grad=*/false);
  x_proj_rows = register_parameter("x_proj_rows", at::empty({2 * n_states, d_inner}), /*requires_grad=*/false);
}

}  // namespace mpeft::model
