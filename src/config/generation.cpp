#include "mpeft/config/generation.h"

#include <limits>

namespace mpeft::config {
namespace {
constexpr int64_t kMaxTokens = 1'000'000;
constexpr int64_t kMaxBeams = 1024;
}  // namespace

Generation make_generation(const Node& node, const Generation& defaults) {
  Generation generation = defaults;
  generation.max_length = node["max_length"].as_int_in(defaults.max_length, 1, kMaxTokens);
  generation.max_new_tokens = node["max_new_tokens"].as_int_in(defaults.max_new_tokens, 0, kMaxTokens);
  generation.min_length = node["min_length"].as_int_in(defaults.min_length, -1, kMaxTokens);
  generation.num_beams = node["num_beams"].as_int_in(defaults.num_beams, 1, kMaxBeams);
  generation.length_penalty = node["length_penalty"].as_double_in(defaults.length_penalty, -10, 10);
  generation.top_k = node["top_k"].as_int_in(defaults.top_k, 0, kMaxTokens);
  generation.top_p = node["top_p"].as_double_in(defaults.top_p, 0, 1);
  if (generation.top_p == 0) generation.top_p = 1;  // the reference's "off"
  generation.temperature = node["temperature"].as_double_in(defaults.temperature, 1e-4, 1e4);

  const bool wants_sampling = generation.top_k > 1 || generation.top_p < 1 || generation.temperature != 1;
  const Node do_sample = node["do_sample"];
  generation.do_sample = do_sample.as_bool(defaults.do_sample || (wants_sampling && generation.num_beams == 1));

  const Node beams = node["num_beams"];
  const Node& sampling_place = beams.is_present() ? beams : node;
  if (generation.num_beams > 1 && (wants_sampling || generation.do_sample)) {
    sampling_place.problem(
        "beam search does not sample: give num_beams: 1, or leave out do_sample, top_k, top_p and temperature");
  }
  if (generation.num_beams == 1 && wants_sampling && !generation.do_sample) {
    do_sample.problem("top_k, top_p and temperature act on sampling only, and do_sample is false");
  }
  if (generation.min_length > generation.max_length) {
    node["min_length"].problem("is larger than max_length");
  }
  if (generation.max_new_tokens > 0 && generation.min_length > generation.max_new_tokens) {
    node["min_length"].problem("is larger than max_new_tokens");
  }
  return generation;
}

}  // namespace mpeft::config
