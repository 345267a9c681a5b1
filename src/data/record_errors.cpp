#include "data/record_errors.h"

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {

void RecordErrors::add(int64_t record, const std::string& reason) { add_problem(str("record ", record), ": ", reason); }

void RecordErrors::add_at(int64_t line, int64_t column, const std::string& reason) {
  add_problem(column > 0 ? str(line, ":", column) : str(line), ":", reason);
}

// `separator`: between the path and the place.
void RecordErrors::add_problem(const std::string& place, const std::string& separator, const std::string& reason) {
  const std::string problem = path_ + separator + place + ": " + reason;
  if (++n_bad_ > n_allowed_) {
    throw DataError(problem +
                    (n_allowed_ > 0
                         ? str(" (more than the ", n_allowed_, " malformed records that skip_bad_records allows)")
                         : " (--set data_options.skip_bad_records=N leaves out up to N such records)"));
  }
  if (first_.empty()) first_ = (separator == ":" ? "line " : "") + place + ": " + reason;
}

bool RecordErrors::check_size(int64_t record, size_t n_bytes) {
  if (n_bytes <= kMaxRecordBytes) return true;
  add(record, str("is ", human_bytes(n_bytes), " long, more than ", human_bytes(kMaxRecordBytes)));
  return false;
}

std::string RecordErrors::note() const {
  if (n_bad_ == 0) return "";
  return str(path_, ": ", n_bad_, n_bad_ == 1 ? " malformed record" : " malformed records", " skipped (first: ", first_,
             ")");
}

}  // namespace mpeft::data
