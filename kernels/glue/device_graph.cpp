#include "kernels/glue/device_graph.h"

#include <c10/util/Exception.h>
#ifdef MPEFT_HAS_CUDA
#include <map>

#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace mpeft::ops {

#ifdef MPEFT_HAS_CUDA
namespace {

class Graph : public at::cuda::CUDAGraph {
 public:
  /// What capture_end leaves undone when it throws: the default generator would count as recording for ever, and
  /// refuse the next dropout; the memory would stay reserved.
  void abandon() {
    for (auto& item : captured_generator_states_) item.first->capturing_ = false;
    if (capture_ended_ || capture_dev_ == UNDEFINED_DEVICE) return;  // the destructor gives the memory back
    for (const auto give_back :
         {c10::cuda::CUDACachingAllocator::endAllocateToPool, c10::cuda::CUDACachingAllocator::releasePool}) {
      try {
        give_back(capture_dev_, mempool_id_);
      } catch (const c10::Error&) {
        // it was given back already
      }
    }
  }
};

// One for all recordings of a thread on a device: cuBLAS keeps tens of megabytes for each stream that it has seen, and
// the allocator reuses memory within one stream only.
c10::cuda::CUDAStream recording_stream(at::Device device) {
  thread_local std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto known = streams.find(device.index());
  if (known != streams.end()) return known->second;
  return streams.emplace(device.index(), c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()))
      .first->second;
}

}  // namespace
#endif

struct DeviceGraph::State {
#ifdef MPEFT_HAS_CUDA
  Graph graph;
#endif
};

DeviceGraph::DeviceGraph() = default;
DeviceGraph::~DeviceGraph() = default;
DeviceGraph::DeviceGraph(DeviceGraph&&) noexcept = default;
DeviceGraph& DeviceGraph::operator=(DeviceGraph&&) noexcept = default;

bool DeviceGraph::is_available([[maybe_unused]] at::Device device) {
#ifdef MPEFT_HAS_CUDA
  return device.is_cuda();
#else
  return false;
#endif
}

bool DeviceGraph::is_recorded() const { return state_ != nullptr; }

void DeviceGraph::record([[maybe_unused]] at::Device device, [[maybe_unused]] const std::function<void()>& body,
                         [[maybe_unused]] const DeviceGraph* memory_of, [[maybe_unused]] bool releases_cached) {
  TORCH_CHECK(is_available(device), "graphs are recorded on a GPU, not on ", device);
  TORCH_CHECK(memory_of == nullptr || memory_of->is_recorded(), "a graph without memory cannot share it");
#ifdef MPEFT_HAS_CUDA
  const c10::cuda::CUDAGuard device_guard(device);
  state_.reset();
  auto state = std::make_unique<State>();
  const auto stream = recording_stream(device);
  c10::cuda::getCurrentCUDAStream().synchronize();
  {
    const c10::cuda::CUDAStreamGuard stream_guard(stream);
    body();  // library handles and workspaces of this stream come to be outside of the recording
    stream.synchronize();
    if (releases_cached) c10::cuda::CUDACachingAllocator::emptyCache();
    try {
      state->graph.capture_begin(memory_of != nullptr ? memory_of->state_->graph.pool() : at::cuda::MempoolId_t{0, 0});
      body();
      state->graph.capture_end();
    } catch (...) {
      try {
        state->graph.capture_end();  // else every later allocation of this process would count as recorded
      } catch (const std::exception&) {
        state->graph.abandon();  // the recording failed because of the first exception, which says why
      }
      throw;
    }
  }
  state_ = std::move(state);
#endif
}

void DeviceGraph::replay() {
  TORCH_CHECK(is_recorded(), "nothing was recorded");
#ifdef MPEFT_HAS_CUDA
  state_->graph.replay();
#endif
}

}  // namespace mpeft::ops
