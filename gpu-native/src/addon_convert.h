// JS values <-> the plain structs of request.h. Reading copies: the caller may change its arrays after the call returns.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "addon_handles.h"
#include "memory_estimate.h"
#include "request.h"
#include "weights.h"

namespace steerlab {

EngineOptions read_engine_options(const Napi::Object& o);
ModelConfig read_config(const Napi::Object& o);
DType read_dtype(const Napi::Object& o, const char* name);
WorkShape read_work(const Napi::Object& o);
std::vector<TensorLocation> read_tensors(const Napi::Array& list);
std::vector<AdapterPart> read_parts(const Napi::Array& list);
TrainerOptions read_trainer_options(const Napi::Object& o);
std::vector<int> read_targets(const Napi::Value& list);
TrainBatch read_batch(const Napi::Object& o);  // without contextAdapter
// Float32Array or Float64Array, widened.
std::vector<double> read_master(const Napi::Value& value, const char* name);

// A forward request with the pending adapters it names: they are resolved on the engine's thread.
struct BoundForward {
  ForwardRequest request;
  std::vector<std::shared_ptr<Pending<Adapter>>> adapters;
  void resolve();  // throws what the making of an adapter threw
};
// Everything but the prompt.
void read_generate(const Napi::Object& o, GenerateRequest& out);
BoundForward read_forward(const Napi::Object& o, const ModelBox& box);

Napi::Value forward_value(Napi::Env env, const std::shared_ptr<ModelBox>& box, const ForwardResult& r);
Napi::Value generate_value(Napi::Env env, const GenerateResult& r);
Napi::Object batch_value(Napi::Env env, const BatchResult& r);
// Float64Array for an f64 engine, else Float32Array.
Napi::Value master_value(Napi::Env env, const std::vector<double>& values, DType act);
Napi::Value float_value(Napi::Env env, const std::vector<float>& values);

}  // namespace steerlab
