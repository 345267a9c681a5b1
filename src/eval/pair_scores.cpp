#include "eval/pair_scores.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/pair_metric.h"

namespace mpeft::eval {
namespace {

constexpr double kNoClass = -1;                       // as PairMetric::takes_classes says
constexpr double kLargestClass = 9007199254740992.0;  // 2^53: every integer up to here is a double

// Predicted and true numbers, one each an example.
struct Pairs {
  std::vector<double> predictions;
  std::vector<double> references;
  void add(double prediction, double reference) {
    predictions.push_back(prediction);
    references.push_back(reference);
  }
};

[[noreturn]] void fail(size_t i, const std::string& reason) {
  throw DataError(str("prediction ", i + 1, ": ", reason));
}

const std::string& only_reference(const Prediction& prediction, size_t i) {
  if (prediction.references.size() != 1)
    fail(i, str("expected one reference (a class or a number), got ", prediction.references.size()));
  return prediction.references.front();
}

std::optional<double> to_number(const std::string& text) {
  const std::string_view trimmed = trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  if (error != std::errc() || end != trimmed.data() + trimmed.size() || !std::isfinite(value)) return {};
  return value;
}

using Group = std::optional<std::string>;  // none: all predictions

bool is_integer(double number) { return number == std::trunc(number) && std::abs(number) <= kLargestClass; }

// Numbers spelt out. What is none counts as the smallest reference less one.
Pairs number_pairs(const std::vector<Prediction>& predictions, bool are_classes, const Group& group) {
  std::vector<std::optional<double>> predicted;
  Pairs pairs;
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (group && predictions[i].group != *group) continue;
    const auto reference = to_number(only_reference(predictions[i], i));
    if (!reference) fail(i, "the reference '" + to_valid_utf8(predictions[i].references.front()) + "' is no number");
    pairs.references.push_back(*reference);
    predicted.push_back(to_number(predictions[i].prediction));
    if (are_classes && predicted.back() && !is_integer(*predicted.back())) predicted.back().reset();
  }
  const double no_number = *std::min_element(pairs.references.begin(), pairs.references.end()) - 1;
  for (const auto& number : predicted) pairs.predictions.push_back(number.value_or(no_number));
  return pairs;
}

void warn_of_no_numbers(const std::vector<Prediction>& predictions, const std::vector<std::string>& metric_names) {
  const auto n = std::count_if(predictions.begin(), predictions.end(),
                               [](const Prediction& prediction) { return !to_number(prediction.prediction); });
  if (n == 0) return;
  log::warning(str(join(metric_names, ", "), ": ", n, " of ", predictions.size(),
                   " predictions are no number; they count as wrong (as the smallest reference less one)"));
}

std::vector<std::string> classes_of(const Prediction& prediction) {
  std::vector<std::string> classes;
  for (const auto& [name, score] : prediction.class_scores) classes.push_back(name);
  return classes;
}

// The three readings of predictions with class scores.
struct ClassPairs {
  Pairs strict, inside, choices;
};

ClassPairs class_pairs(const std::vector<Prediction>& predictions, const std::vector<std::string>& classes,
                       const Group& group) {
  const auto number_of = [&](const std::string& text) {
    const auto found = std::find(classes.begin(), classes.end(), text);
    return found == classes.end() ? kNoClass : static_cast<double>(found - classes.begin());
  };
  ClassPairs pairs;
  for (size_t i = 0; i < predictions.size(); ++i) {
    const auto& prediction = predictions[i];
    if (group && prediction.group != *group) continue;
    if (classes_of(prediction) != classes)
      fail(i, "its class scores are of other classes than those of the first (" + join(classes, ", ") + ")");
    const double reference = number_of(only_reference(prediction, i));
    if (reference == kNoClass)
      fail(i, "the reference '" + prediction.references.front() + "' is none of the classes " + join(classes, ", "));
    const double predicted = number_of(prediction.prediction);
    const auto best = std::max_element(prediction.class_scores.begin(), prediction.class_scores.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    pairs.strict.add(predicted, reference);
    if (predicted != kNoClass) pairs.inside.add(predicted, reference);
    pairs.choices.add(static_cast<double>(best - prediction.class_scores.begin()), reference);
  }
  return pairs;
}

void add_class_scores(const ClassPairs& pairs, const std::vector<std::string>& names, const std::string& ending,
                      metrics::Scores& scores) {
  for (const auto& name : names) {
    const auto metric = metrics::make_pair_metric(name);
    const auto value = [&](const Pairs& which) {
      return which.predictions.empty() ? std::numeric_limits<double>::quiet_NaN()
                                       : metric->score(which.predictions, which.references);
    };
    scores[name + ending] = value(pairs.strict);
    scores[name + "_reference" + ending] = value(pairs.inside);
    scores[name + "_choices" + ending] = value(pairs.choices);
  }
  const auto n = static_cast<double>(pairs.strict.predictions.size());
  scores["out_of_class" + ending] = 1.0 - static_cast<double>(pairs.inside.predictions.size()) / n;
}

}  // namespace

metrics::Scores score_pairs(const std::vector<Prediction>& predictions, const std::vector<std::string>& metric_names) {
  metrics::Scores scores;
  if (metric_names.empty()) return scores;
  if (predictions.empty()) throw DataError("no predictions to score");
  std::set<std::string> groups;
  for (const auto& prediction : predictions) groups.insert(prediction.group);
  groups.erase("");
  const auto for_all_and_each_group = [&](const auto& score) {
    score(Group(), "");
    for (const auto& group : groups) score(Group(group), "_" + group);
  };

  std::vector<std::string> of_classes, of_numbers;
  for (const auto& name : metric_names) {
    const auto metric = metrics::make_pair_metric(name);
    if (metric->takes_classes() && !predictions.front().class_scores.empty()) {
      of_classes.push_back(name);
      continue;
    }
    of_numbers.push_back(name);
    for_all_and_each_group([&](const Group& group, const std::string& ending) {
      const auto pairs = number_pairs(predictions, metric->takes_classes(), group);
      scores[name + ending] = metric->score(pairs.predictions, pairs.references);
    });
  }
  if (!of_numbers.empty()) warn_of_no_numbers(predictions, of_numbers);
  if (of_classes.empty()) return scores;
  const auto classes = classes_of(predictions.front());
  for_all_and_each_group([&](const Group& group, const std::string& ending) {
    add_class_scores(class_pairs(predictions, classes, group), of_classes, ending, scores);
  });
  return scores;
}

}  // namespace mpeft::eval
