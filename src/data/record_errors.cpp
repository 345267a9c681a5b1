#include "data/record_errors.h"

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {

void RecordErrors::add(int64_t record, const std::string& reason) {
  const std::string line = str("record ", record, ": ", reason);
  if (++n_bad_ > n_allowed_) {
    throw DataError(path_ + ": " + line +
                    (n_allowed_ > 0
                         ? str(" (more than the ", n_allowed_, " malformed records that skip_bad_records allows)")
                         : " (--set data_options.skip_bad_records=N leaves out up to N such records)"));
  }
  if (first_.empty()) first_ = line;
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
