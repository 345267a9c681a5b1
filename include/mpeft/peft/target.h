#pragma once

#include <string>
#include <vector>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::peft {

/// A place that an adapter can be put on: a projection, one of its named row slices, the convolution, the embedding or
/// the head.
struct Target {
  std::string path;    ///< "backbone.layers.0.mixer.in_proj_x", "backbone.embeddings", "lm_head"
  std::string name;    ///< last component of the path: "in_proj_x"
  int64_t layer = -1;  ///< index of the layer, -1 outside the layers
  int64_t in_features = 0;
  int64_t out_features = 0;               ///< rows of this target alone
  model::Projection projection{nullptr};  ///< null for the embedding and the convolution
  model::Embedding embedding{nullptr};    ///< null otherwise
  model::Conv1d conv{nullptr};            ///< null otherwise; in_features are its taps, out_features its channels
  bool is_slice = false;                  ///< a named part of the projection's rows
};

/// Every target of the model in the order of the layers, the embedding first, the head last.
std::vector<Target> list_targets(model::MambaLM& model);

/// How a configuration names targets (the fields of Hugging Face PEFT).
struct TargetSelection {
  std::vector<std::string> names;  ///< whole components or dotted suffixes of paths: "out_proj", "0.mixer.in_proj"
  std::string
      regex;  ///< full match on the path; used when not empty. "all-linear": each whole projection of the layers
  std::vector<std::string> exclude_names;
  std::string exclude_regex;
  std::vector<int64_t> layers;  ///< layers_to_transform; empty: all
  bool is_saved = false;        ///< of a saved adapter: exclusions that match nothing are let pass
};

/// The selected targets, in the order of list_targets. "embedding" (the reference's name) means "embeddings". Throws
/// ConfigError, starting with `where`, when a name or an exclusion matches nothing (naming the nearest) or two targets
/// share rows
/// (`in_proj` and `in_proj_x`).
std::vector<Target> select_targets(model::MambaLM& model, const TargetSelection& selection, const std::string& where);

/// True when the whole of `text` matches the Perl-compatible `pattern`; the work is bounded. Throws ConfigError,
/// starting with `where`, for a pattern that does not compile or takes too long.
bool full_match(const std::string& pattern, const std::string& text, const std::string& where);

}  // namespace mpeft::peft
