#pragma once

#include <cstdint>
#include <vector>

namespace mpeft::data {

/// Indices of the two parts of a data set, in the order in which their examples come.
struct SplitIndices {
  std::vector<int64_t> train;
  std::vector<int64_t> test;
};

/// `numpy.random.default_rng(seed).permutation(n)`: PCG64 seeded by a SeedSequence, Fisher-Yates with masked
/// 32-bit numbers. n < 2^32.
std::vector<int64_t> numpy_permutation(int64_t n, uint64_t seed);

/// `datasets.Dataset.train_test_split(test_size, seed)`: the first ceil(test_size * n) indices of numpy_permutation are
/// the test part, the others the training part.
SplitIndices numpy_train_test_split(int64_t n, double test_size, uint64_t seed);

/// `i = list(range(n)); random.Random(seed).shuffle(i)` of Python 3: Mersenne Twister MT19937, getrandbits by
/// rejection. n < 2^32.
std::vector<int64_t> python_shuffle(int64_t n, uint64_t seed);

/// The first int(train_size * n) indices of python_shuffle are the training part, the others the test part.
SplitIndices python_train_test_split(int64_t n, double train_size, uint64_t seed);

}  // namespace mpeft::data
