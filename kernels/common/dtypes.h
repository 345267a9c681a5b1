#pragma once

// defines: acc_type_t

namespace mpeft::kernels {

/// What sums, states and small parameters are kept in: double for double (reference and finite differences), else
/// float.
template <typename scalar_t>
struct AccType {
  using type = float;
};
template <>
struct AccType<double> {
  using type = double;
};
template <typename scalar_t>
using acc_type_t = typename AccType<scalar_t>::type;

}  // namespace mpeft::kernels
