#include "mpeft/data/split.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "mpeft/core/check.h"

#include "data/numpy_random.h"
#include "data/python_random.h"

namespace mpeft::data {
namespace {

std::vector<int64_t> identity(int64_t n) {
  MPEFT_ASSERT(n >= 0 && n < (int64_t{1} << 32), "a split of ", n, " records");
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

}  // namespace

std::vector<int64_t> numpy_permutation(int64_t n, uint64_t seed) {
  auto order = identity(n);
  NumpyRandom random(seed);
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[random.up_to(static_cast<uint32_t>(i))]);
  return order;
}

SplitIndices numpy_train_test_split(int64_t n, double test_size, uint64_t seed) {
  const auto order = numpy_permutation(n, seed);
  const auto n_test = static_cast<std::ptrdiff_t>(std::ceil(test_size * static_cast<double>(n)));
  return {{order.begin() + n_test, order.end()}, {order.begin(), order.begin() + n_test}};
}

std::vector<int64_t> python_shuffle(int64_t n, uint64_t seed) {
  auto order = identity(n);
  PythonRandom random(seed);
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[random.below(static_cast<uint32_t>(i + 1))]);
  return order;
}

SplitIndices python_train_test_split(int64_t n, double train_size, uint64_t seed) {
  const auto order = python_shuffle(n, seed);
  const auto n_train = static_cast<std::ptrdiff_t>(train_size * static_cast<double>(n));
  return {{order.begin(), order.begin() + n_train}, {order.begin() + n_train, order.end()}};
}

}  // namespace mpeft::data
