#pragma once

#include <cstdint>
#include <string>

#include "mpeft/config/node.h"

namespace mpeft::model {

/// Sizes of a Mamba language model, in the field's names. Defaults are those of the published models.
struct MambaConfig {
  int64_t d_model = 768;
  int64_t n_layer = 24;
  int64_t vocab_size = 50280;  ///< rows of the embedding, padding included
  int64_t d_state = 16;
  int64_t d_conv = 4;  ///< taps of the convolution: 2, 3 or 4
  int64_t expand = 2;
  int64_t dt_rank = 0;  ///< 0: ceil(d_model / 16)
  double norm_eps = 1e-5;
  bool use_bias = false;  ///< bias of in_proj and out_proj
  bool use_conv_bias = true;
  bool tie_embeddings = true;  ///< lm_head shares the embedding's weight

  int64_t d_inner() const { return expand * d_model; }
  int64_t resolved_dt_rank() const { return dt_rank > 0 ? dt_rank : (d_model + 15) / 16; }

  /// Reads a `config.json`: state-spaces' spelling (d_model, n_layer, ssm_cfg, pad_vocab_size_multiple) or
  /// transformers' (hidden_size, num_hidden_layers, state_size, …). `where` names the file. Throws CheckpointError for
  /// absent, ill-typed or impossible values and for architectures that are not Mamba-1.
  static MambaConfig from_json(const std::string& text, const std::string& where);

  /// Reads `cfg/models/*.yaml`; problems go to the node.
  static MambaConfig from_yaml(const config::Node& node);

  /// transformers' spelling, which from_json and transformers read.
  std::string to_json() const;

  /// Throws ConfigError naming the first impossible value.
  void validate() const;
};

}  // namespace mpeft::model
