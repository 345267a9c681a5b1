#include <algorithm>
#include <iterator>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/metric.h"
#include "mpeft/metrics/pair_metric.h"

namespace mpeft::metrics {

#define METRIC(name, factory) std::unique_ptr<Metric> factory();
#define SQL_METRIC(name, factory) std::unique_ptr<Metric> factory(const std::filesystem::path& databases);
#define PAIR_METRIC(name, factory) std::unique_ptr<PairMetric> factory();
#include "metrics/metrics.def"
#undef METRIC
#undef SQL_METRIC
#undef PAIR_METRIC

namespace {

template <typename Factory>
struct Registered {
  const char* name;
  Factory* make;
};

constexpr Registered<std::unique_ptr<Metric>()> kMetrics[] = {
#define METRIC(name, factory) {#name, factory},
#define SQL_METRIC(name, factory)
#define PAIR_METRIC(name, factory)
#include "metrics/metrics.def"
#undef METRIC
#undef SQL_METRIC
#undef PAIR_METRIC
};

constexpr Registered<std::unique_ptr<Metric>(const std::filesystem::path&)> kSqlMetrics[] = {
#define METRIC(name, factory)
#define SQL_METRIC(name, factory) {#name, factory},
#define PAIR_METRIC(name, factory)
#include "metrics/metrics.def"
#undef METRIC
#undef SQL_METRIC
#undef PAIR_METRIC
};

constexpr Registered<std::unique_ptr<PairMetric>()> kPairMetrics[] = {
#define METRIC(name, factory)
#define SQL_METRIC(name, factory)
#define PAIR_METRIC(name, factory) {#name, factory},
#include "metrics/metrics.def"
#undef METRIC
#undef SQL_METRIC
#undef PAIR_METRIC
};

// The entry of that name, or nullptr.
template <typename Factory, size_t n>
const Registered<Factory>* find(const Registered<Factory> (&entries)[n], const std::string& name) {
  const auto found =
      std::find_if(std::begin(entries), std::end(entries), [&](const auto& e) { return name == e.name; });
  return found == std::end(entries) ? nullptr : found;
}

template <typename Factory, size_t n>
void add_names(const Registered<Factory> (&entries)[n], std::vector<std::string>& names) {
  for (const auto& entry : entries) names.emplace_back(entry.name);
  std::sort(names.begin(), names.end());
}

[[noreturn]] void throw_unknown(const std::string& name, const std::vector<std::string>& names) {
  throw ConfigError(str("unknown metric '", name, "'", did_you_mean(name, names), "; there are: ", join(names, ", ")));
}

}  // namespace

std::vector<std::string> metric_names() {
  std::vector<std::string> names;
  add_names(kMetrics, names);
  add_names(kSqlMetrics, names);
  return names;
}

bool needs_databases(const std::string& name) { return find(kSqlMetrics, name) != nullptr; }

std::unique_ptr<Metric> make_metric(const std::string& name, const std::filesystem::path& databases) {
  if (const auto* entry = find(kMetrics, name)) return entry->make();
  const auto* entry = find(kSqlMetrics, name);
  if (entry == nullptr) throw_unknown(name, metric_names());
  if (databases.empty()) {
    throw ConfigError(str("metric '", name,
                          "' runs queries: name Spider's folder, the one of tables.json and database/ (--spider DIR)"));
  }
  return entry->make(databases);
}

std::vector<std::string> pair_metric_names() {
  std::vector<std::string> names;
  add_names(kPairMetrics, names);
  return names;
}

std::unique_ptr<PairMetric> make_pair_metric(const std::string& name) {
  const auto* entry = find(kPairMetrics, name);
  if (entry == nullptr) throw_unknown(name, pair_metric_names());
  return entry->make();
}

}  // namespace mpeft::metrics
