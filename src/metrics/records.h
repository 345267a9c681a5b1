#pragma once

#include <vector>

#include "mpeft/metrics/metric.h"

namespace mpeft::metrics {

/// Throws DataError when there are no records, or when one has no reference, naming it by its number from 1.
void require_references(const std::vector<Record>& records);

}  // namespace mpeft::metrics
