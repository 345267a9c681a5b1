#include "metrics/records.h"

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::metrics {

void require_references(const std::vector<Record>& records) {
  if (records.empty()) throw DataError("no predictions to score");
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].references.empty()) throw DataError(str("record ", i + 1, ": no references to compare with"));
  }
}

}  // namespace mpeft::metrics
