#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "metrics/unicode.h"

namespace mpeft::metrics {

/// Numbers for tokens, from 1 in the order of their first appearance: equal tokens have equal numbers.
class Vocabulary {
 public:
  std::vector<uint32_t> number(std::vector<Text> tokens) {
    std::vector<uint32_t> numbers;
    numbers.reserve(tokens.size());
    for (Text& token : tokens) {
      const auto next = static_cast<uint32_t>(numbers_.size() + 1);
      numbers.push_back(numbers_.try_emplace(std::move(token), next).first->second);
    }
    return numbers;
  }

 private:
  std::unordered_map<Text, uint32_t> numbers_;
};

}  // namespace mpeft::metrics
