#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/metric.h"
#include "mpeft/metrics/pair_metric.h"

namespace mpeft::metrics {

#define METRIC(name, factory) std::unique_ptr<Metric> factory();
#define PAIR_METRIC(name, factory) std::unique_ptr<PairMetric> factory();
#include "metrics/metrics.def"
#undef METRIC
#undef PAIR_METRIC

namespace {

template <typename T>
struct Entry {
  const char* name;
  std::unique_ptr<T> (*make)();
};

constexpr Entry<Metric> kMetrics[] = {
#define METRIC(name, factory) {#name, factory},
#define PAIR_METRIC(name, factory)
#include "metrics/metrics.def"
#undef METRIC
#undef PAIR_METRIC
};

constexpr Entry<PairMetric> kPairMetrics[] = {
#define METRIC(name, factory)
#define PAIR_METRIC(name, factory) {#name, factory},
#include "metrics/metrics.def"
#undef METRIC
#undef PAIR_METRIC
};

template <typename T, size_t n>
std::vector<std::string> names_of(const Entry<T> (&entries)[n]) {
  std::vector<std::string> names;
  for (const auto& entry : entries) names.emplace_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

template <typename T, size_t n>
std::unique_ptr<T> make_from(const Entry<T> (&entries)[n], const std::string& name) {
  for (const auto& entry : entries) {
    if (name == entry.name) return entry.make();
  }
  const std::vector<std::string> names = names_of(entries);
  throw ConfigError(str("unknown metric '", name, "'", did_you_mean(name, names), "; there are: ", join(names, ", ")));
}

}  // namespace

std::vector<std::string> metric_names() { return names_of(kMetrics); }
std::unique_ptr<Metric> make_metric(const std::string& name) { return make_from(kMetrics, name); }
std::vector<std::string> pair_metric_names() { return names_of(kPairMetrics); }
std::unique_ptr<PairMetric> make_pair_metric(const std::string& name) { return make_from(kPairMetrics, name); }

}  // namespace mpeft::metrics
