#include "mpeft/model/inference_cache.h"

#include <ATen/ops/index_select.h>

namespace mpeft::model {

void InferenceCache::select_rows(const at::Tensor& index) {
  for (auto& layer : layers) {
    layer.conv = at::index_select(layer.conv, 0, index);
    layer.scan = at::index_select(layer.scan, 0, index);
  }
}

}  // namespace mpeft::model
