#include "checkpoint/safetensors_json.h"

#include <set>

#include <nlohmann/json.hpp>

#include "mpeft/core/json.h"

#include "checkpoint/dtypes.h"
#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";

// Event handler: a document tree of a hostile 100 MB header would take gigabytes, and would hide repeated keys.
class HeaderReader {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}

  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_integer(int64_t value) { return unexpected(str("the number ", value)); }
  bool number_float(double, const std::string& text) { return unexpected("the number " + printable(text)); }
  bool binary(nlohmann::json::binary_t&) { return unexpected("binary data"); }

  bool number_unsigned(uint64_t value) {
    if (place_ == Place::kShape) {
      if (value > static_cast<uint64_t>(INT64_MAX)) fail(where(), "shape holds ", value, ", which is too large");
      if (entry_.shape.size() == kMostAxes) fail(where(), "shape has more than ", kMostAxes, " axes");
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets) {
      if (n_offsets_ == 2) fail(where(), "data_offsets has more than two numbers");
      (n_offsets_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return unexpected(str("the number ", value));
  }

  bool string(std::string& value) {
    if (place_ == Place::kMetadata) {
      header_.metadata[key_] = value;
      return true;
    }
    if (place_ == Place::kTensor && key_ == "dtype") {
      const auto dtype = dtype_of_safetensors(value);
      if (!dtype) {
        fail(where(), "dtype ", quote(value), " is not supported; supported: ", known_safetensors_dtypes());
      }
      entry_.dtype = *dtype;
      return true;
    }
    return unexpected("a string");
  }

  bool start_object(size_t) {
    if (place_ == Place::kStart) return go(Place::kTop);
    if (place_ != Place::kTop) return unexpected("an object");
    if (key_ == kMetadataKey) return go(Place::kMetadata);
    entry_ = TensorEntry{key_, at::kByte, {}, 0, 0};
    n_offsets_ = 0;
    fields_.clear();
    return go(Place::kTensor);
  }

  bool key(std::string& name) {
    if (place_ == Place::kTop && !names_.insert(name).second) fail(path_, ": tensor ", quote(name), " appears twice");
    if (place_ == Place::kMetadata && header_.metadata.count(name) != 0) {
      fail(path_, ": __metadata__: key ", quote(name), " appears twice");
    }
    if (place_ == Place::kTensor) {
      if (name != "dtype" && name != "shape" && name != "data_offsets") fail(where(), "unknown field ", quote(name));
      if (!fields_.insert(name).second) fail(where(), "field '", name, "' appears twice");
    }
    key_ = name;
    return true;
  }

  bool end_object() {
    if (place_ == Place::kTop) return go(Place::kEnd);
    if (place_ == Place::kTensor) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (fields_.count(field) == 0) fail(where(), "field '", field, "' is missing");
      }
      header_.tensors.push_back(std::move(entry_));
    }
    return go(Place::kTop);
  }

  bool start_array(size_t) {
    if (place_ == Place::kTensor && key_ == "shape") return go(Place::kShape);
    if (place_ == Place::kTensor && key_ == "data_offsets") return go(Place::kOffsets);
    return unexpected("a list");
  }

  bool end_array() {
    if (place_ == Place::kOffsets && n_offsets_ != 2)
      fail(where(), "data_offsets has ", n_offsets_, " numbers, expected 2");
    return go(Place::kTensor);
  }

  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& e) {
    fail(path_, ": header is not valid JSON: ", json_reason(e), guess_if_unnamed());
  }

  SafetensorsHeader take() { return std::move(header_); }

 private:
  enum class Place { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };

  bool go(Place place) {
    place_ = place;
    return true;
  }

  std::string where() const { return str(path_, ": tensor ", quote(entry_.name), ": "); }
  std::string guess_if_unnamed() const { return names_.empty() ? " (is this a safetensors file?)" : ""; }

  bool unexpected(const std::string& what) {
    switch (place_) {
      case Place::kStart:
        fail(path_, ": header holds ", what, ", expected an object");
      case Place::kTop:
        fail(path_, ": tensor ", quote(key_), ": found ", what, ", expected an object");
      case Place::kMetadata:
        fail(path_, ": __metadata__: ", quote(key_), ": found ", what, ", expected a string");
      case Place::kTensor:
        fail(where(), key_, " is ", what, key_ == "dtype" ? ", expected a string" : ", expected a list");
      case Place::kShape:
        fail(where(), "shape holds ", what, ", expected whole numbers");
      case Place::kOffsets:
        fail(where(), "data_offsets holds ", what, ", expected whole numbers");
      case Place::kEnd:
        break;
    }
    fail(path_, ": header holds ", what, " after its end");
  }

  const std::string& path_;
  Place place_ = Place::kStart;
  std::string key_;
  TensorEntry entry_{};
  int n_offsets_ = 0;
  std::set<std::string> fields_;
  std::set<std::string> names_;
  SafetensorsHeader header_{};
};

}  // namespace

SafetensorsHeader parse_safetensors_json(std::string_view json, const std::string& path) {
  HeaderReader reader(path);
  nlohmann::json::sax_parse(json, &reader);
  return reader.take();
}

}  // namespace mpeft::checkpoint
