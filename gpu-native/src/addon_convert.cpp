#include "addon_convert.h"

#include <algorithm>

namespace steerlab {
namespace {

// More than any machine has cores: a slip, and more than the system would start.
constexpr int kMaxThreads = 1024;

[[noreturn]] void wrong_type(const std::string& what, const char* name) {
  throw Error("bad-request", "Expected " + what + " for " + name + ".");
}

double number(const Napi::Object& o, const char* name) {
  const Napi::Value v = o.Get(name);
  if (!v.IsNumber()) wrong_type("a number", name);
  return v.As<Napi::Number>().DoubleValue();
}

int integer(const Napi::Object& o, const char* name) {
  const double d = number(o, name);
  if (!(d >= -2147483648.0 && d <= 2147483647.0) || d != static_cast<double>(static_cast<int>(d))) wrong_type("a 32-bit integer", name);
  return static_cast<int>(d);
}

uint64_t seed_of(double d, const char* name) {
  if (!(d >= 0 && d < 9007199254740992.0) || d != static_cast<double>(static_cast<uint64_t>(d))) wrong_type("an integer in [0, 2^53)", name);
  return static_cast<uint64_t>(d);
}

bool boolean(const Napi::Object& o, const char* name) { return o.Get(name).ToBoolean().Value(); }

std::string text(const Napi::Object& o, const char* name) {
  const Napi::Value v = o.Get(name);
  if (!v.IsString()) wrong_type("a string", name);
  return v.As<Napi::String>().Utf8Value();
}

Napi::Object object(const Napi::Object& o, const char* name) {
  const Napi::Value v = o.Get(name);
  if (!v.IsObject()) wrong_type("an object", name);
  return v.As<Napi::Object>();
}

template <typename T, napi_typedarray_type kType>
std::vector<T> array(const Napi::Value& v, const char* name, const char* what) {
  if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != kType) wrong_type(what, name);
  const auto typed = v.As<Napi::TypedArrayOf<T>>();
  const T* data = typed.Data();
  return std::vector<T>(data, data + typed.ElementLength());
}

std::vector<int32_t> ints(const Napi::Object& o, const char* name) {
  return array<int32_t, napi_int32_array>(o.Get(name), name, "an Int32Array");
}
std::vector<float> floats(const Napi::Object& o, const char* name) {
  return array<float, napi_float32_array>(o.Get(name), name, "a Float32Array");
}

DType dtype_of(const std::string& name) {
  if (name == "f64") return DType::F64;
  if (name == "f32") return DType::F32;
  if (name == "bf16") return DType::BF16;
  if (name == "f16") return DType::F16;
  throw Error("bad-dtype", "Expected f64, f32, bf16 or f16 for dtype but received \"" + name + "\".");
}

SteeringColumns read_steering(const Napi::Object& o) {
  SteeringColumns s;
  s.vectors = floats(o, "vectors");
  s.row = ints(o, "row");
  s.vector = ints(o, "vector");
  s.layer_start = ints(o, "layerStart");
  s.layer_end = ints(o, "layerEnd");
  s.span_start = ints(o, "spanStart");
  s.span_end = ints(o, "spanEnd");
  s.magnitude = floats(o, "magnitude");
  return s;
}

bool all_positions(const Napi::Object& o) {
  const std::string p = text(o, "positions");
  if (p != "last" && p != "all") wrong_type("\"last\" or \"all\"", "positions");
  return p == "all";
}

template <typename Array, typename T>
Array typed(Napi::Env env, const std::vector<T>& values) {
  Array out = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), out.Data());
  return out;
}

}  // namespace

EngineOptions read_engine_options(const Napi::Object& o) {
  EngineOptions e;
  const std::string backend = text(o, "backend");
  if (backend != "cpu" && backend != "cuda") throw Error("bad-backend", "Expected \"cpu\" or \"cuda\" for backend but received \"" + backend + "\".");
  e.cuda = backend == "cuda";
  e.dtype = dtype_of(text(o, "dtype"));
  if (e.dtype == DType::F16 || (e.cuda && e.dtype == DType::F64))
    throw Error("bad-dtype", std::string("Expected f32 or bf16 ") + (e.cuda ? "" : "or f64 ") + "for dtype but received \"" + text(o, "dtype") + "\".");
  e.threads = integer(o, "threads");
  if (e.threads < 0 || e.threads > kMaxThreads) {
    throw Error("bad-request", "Expected threads 0.." + std::to_string(kMaxThreads) + " but received " + std::to_string(e.threads) +
                                   ". 0 means all cores.");
  }
  e.isa = text(o, "isa");
  return e;
}

ModelConfig read_config(const Napi::Object& o) {
  ModelConfig c;
  c.hidden_size = integer(o, "hidden_size");
  c.num_hidden_layers = integer(o, "num_hidden_layers");
  c.num_attention_heads = integer(o, "num_attention_heads");
  c.num_key_value_heads = integer(o, "num_key_value_heads");
  c.head_dim = integer(o, "head_dim");
  c.intermediate_size = integer(o, "intermediate_size");
  c.vocab_size = integer(o, "vocab_size");
  c.max_position_embeddings = integer(o, "max_position_embeddings");
  c.rope_theta = number(o, "rope_theta");
  c.rms_norm_eps = number(o, "rms_norm_eps");
  c.tie_word_embeddings = boolean(o, "tie_word_embeddings");
  if (o.Get("rope_frequencies").IsTypedArray()) {
    c.rope_frequencies = floats(o, "rope_frequencies");
    c.rope_scale = static_cast<float>(number(o, "rope_scale"));
  }
  check_config(c);
  return c;
}

DType read_dtype(const Napi::Object& o, const char* name) { return dtype_of(text(o, name)); }

WorkShape read_work(const Napi::Object& o) {
  const auto natural = [&](const char* name) {
    const int value = integer(o, name);
    if (value < 0) wrong_type("a number >= 0", name);
    return value;
  };
  WorkShape w;
  w.rows = natural("rows");
  w.context_tokens = natural("contextTokens");
  w.question_tokens = natural("questionTokens");
  w.shared_context = boolean(o, "sharedContext");
  w.kept_tokens = natural("keptTokens");
  w.lora_rank = natural("loraRank");
  w.training = boolean(o, "training");
  w.match_positions = natural("matchPositions");
  for (int& target : w.lora_targets) target = 0;
  for (const int p : read_targets(o.Get("loraTargets"))) w.lora_targets[p] = 1;
  return w;
}

std::vector<TensorLocation> read_tensors(const Napi::Array& list) {
  std::vector<TensorLocation> out;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object o = list.Get(i).As<Napi::Object>();
    TensorLocation t;
    t.name = text(o, "name");
    t.file = text(o, "file");
    const std::string dtype = text(o, "dtype");
    t.blocks = find_block_format(dtype);
    if (!t.blocks) t.dtype = dtype_of(dtype);
    const Napi::Array shape = object(o, "shape").As<Napi::Array>();
    for (uint32_t d = 0; d < shape.Length(); ++d) t.shape.push_back(shape.Get(d).ToNumber().Int64Value());
    t.byte_offset = static_cast<int64_t>(number(o, "byteOffset"));
    t.byte_length = static_cast<int64_t>(number(o, "byteLength"));
    out.push_back(std::move(t));
  }
  return out;
}

std::vector<AdapterPart> read_parts(const Napi::Array& list) {
  std::vector<AdapterPart> out;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object o = list.Get(i).As<Napi::Object>();
    AdapterPart part;
    part.layer = integer(o, "layer");
    part.projection = projection_index(text(o, "module"));
    part.r = integer(o, "r");
    part.scaling = static_cast<float>(number(o, "scaling"));
    part.a = floats(o, "a");
    part.b = floats(o, "b");
    if (!o.Get("bias").IsUndefined()) part.bias = floats(o, "bias");
    out.push_back(std::move(part));
  }
  return out;
}

std::vector<int> read_targets(const Napi::Value& value) {
  if (!value.IsArray()) wrong_type("an array of module names", "targets");
  const Napi::Array list = value.As<Napi::Array>();
  std::vector<int> out;
  for (uint32_t i = 0; i < list.Length(); ++i) out.push_back(projection_index(list.Get(i).ToString().Utf8Value()));
  return out;
}

TrainerOptions read_trainer_options(const Napi::Object& o) {
  TrainerOptions t;
  t.r = integer(o, "r");
  t.alpha = static_cast<float>(number(o, "alpha"));
  t.dropout = static_cast<float>(number(o, "dropout"));
  t.targets = read_targets(o.Get("targets"));
  t.mass_weight = static_cast<float>(number(o, "massWeight"));
  t.seed = seed_of(number(o, "seed"), "seed");
  t.beta1 = number(o, "beta1");
  t.beta2 = number(o, "beta2");
  t.eps = number(o, "eps");
  t.weight_decay = number(o, "weightDecay");
  t.max_grad_norm = number(o, "maxGradNorm");
  return t;
}

TrainBatch read_batch(const Napi::Object& o) {
  TrainBatch b;
  b.context_tokens = ints(o, "contextTokens");
  b.context_offsets = ints(o, "contextOffsets");
  b.question_tokens = ints(o, "questionTokens");
  b.question_offsets = ints(o, "questionOffsets");
  b.labels = ints(o, "labels");
  b.targets = ints(o, "targets");
  b.match_positions = ints(o, "matchPositions");
  b.weights = array<double, napi_float64_array>(o.Get("weights"), "weights", "a Float64Array");
  b.steering = read_steering(object(o, "steering"));
  b.micro_batch = integer(o, "microBatch");
  return b;
}

std::vector<double> read_master(const Napi::Value& v, const char* name) {
  if (v.IsTypedArray() && v.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array)
    return array<double, napi_float64_array>(v, name, "");
  const std::vector<float> narrow = array<float, napi_float32_array>(v, name, "a Float32Array or Float64Array");
  return std::vector<double>(narrow.begin(), narrow.end());
}

void BoundForward::resolve() {
  request.adapters.clear();
  for (const auto& pending : adapters) request.adapters.push_back(pending->get());
}

BoundForward read_forward(const Napi::Object& o, const ModelBox& box) {
  BoundForward bound;
  ForwardRequest& q = bound.request;
  q.tokens = ints(o, "tokens");
  q.row_offsets = ints(o, "rowOffsets");
  q.parent_row = ints(o, "parentRow");
  const Napi::Array caches = object(o, "parentCache").As<Napi::Array>();
  for (uint32_t i = 0; i < caches.Length(); ++i) {
    const Napi::Value v = caches.Get(i);
    if (v.IsNull() || v.IsUndefined()) {
      q.parent_cache.push_back(nullptr);
      continue;
    }
    CacheHandle& handle = live(unwrap<CacheHandle>(v));
    if (handle.box.get() != &box) throw Error("bad-handle", "Expected a cache of this model for parentCache but received one of another model.");
    q.parent_cache.push_back(handle.content);
  }
  const Napi::Array adapters = object(o, "adapters").As<Napi::Array>();
  for (uint32_t i = 0; i < adapters.Length(); ++i) {
    AdapterHandle& handle = live(unwrap<AdapterHandle>(adapters.Get(i)));
    if (handle.box.get() != &box) throw Error("bad-handle", "Expected an adapter of this model for adapters but received one of another model.");
    bound.adapters.push_back(handle.content);
  }
  q.row_adapter = ints(o, "rowAdapter");
  q.steering = read_steering(object(o, "steering"));
  if (o.Get("report").IsObject()) {
    const Napi::Object r = object(o, "report");
    q.report.wanted = true;
    q.report.rows = ints(r, "rows");
    q.report.all_positions = all_positions(r);
    q.report.token_ids = ints(r, "tokenIds");
    q.report.token_offsets = ints(r, "tokenOffsets");
    q.report.top_k = integer(r, "topK");
    q.report.full = boolean(r, "all");
  }
  if (o.Get("capture").IsObject()) {
    const Napi::Object c = object(o, "capture");
    q.capture.wanted = true;
    q.capture.rows = ints(c, "rows");
    q.capture.layers = ints(c, "layers");
    q.capture.all_positions = all_positions(c);
  }
  q.keep_cache = array<uint8_t, napi_uint8_array>(o.Get("keepCache"), "keepCache", "a Uint8Array");
  q.share_layers = boolean(o, "shareLayers");
  return bound;
}

void read_generate(const Napi::Object& o, GenerateRequest& out) {
  out.max_tokens = integer(o, "maxTokens");
  out.temperature = static_cast<float>(number(o, "temperature"));
  out.top_p = static_cast<float>(number(o, "topP"));
  for (const double seed : array<double, napi_float64_array>(o.Get("seeds"), "seeds", "a Float64Array")) out.seeds.push_back(seed_of(seed, "seeds"));
  out.stop_ids = ints(o, "stopIds");
}

Napi::Value float_value(Napi::Env env, const std::vector<float>& values) { return typed<Napi::Float32Array>(env, values); }

Napi::Value master_value(Napi::Env env, const std::vector<double>& values, DType act) {
  if (act == DType::F64) return typed<Napi::Float64Array>(env, values);
  return typed<Napi::Float32Array>(env, values);
}

Napi::Value forward_value(Napi::Env env, const std::shared_ptr<ModelBox>& box, const ForwardResult& r) {
  Napi::Object out = Napi::Object::New(env);
  Napi::Array caches = Napi::Array::New(env, r.caches.size());
  for (size_t i = 0; i < r.caches.size(); ++i)
    caches.Set(static_cast<uint32_t>(i), r.caches[i] ? wrap_cache(env, box, r.caches[i]) : env.Null());
  out.Set("caches", caches);
  out.Set("logSumExp", typed<Napi::Float64Array>(env, r.log_sum_exp));
  out.Set("logprobs", typed<Napi::Float64Array>(env, r.logprobs));
  out.Set("topIds", typed<Napi::Int32Array>(env, r.top_ids));
  out.Set("topLogprobs", typed<Napi::Float64Array>(env, r.top_logprobs));
  out.Set("all", typed<Napi::Float32Array>(env, r.all));
  out.Set("captures", typed<Napi::Float32Array>(env, r.captures));
  Napi::Object stats = Napi::Object::New(env);
  stats.Set("tokenLayers", Napi::Number::New(env, r.token_layers));
  stats.Set("sharedTokenLayers", Napi::Number::New(env, r.shared_token_layers));
  out.Set("stats", stats);
  return out;
}

Napi::Value generate_value(Napi::Env env, const GenerateResult& r) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("tokens", typed<Napi::Int32Array>(env, r.tokens));
  out.Set("offsets", typed<Napi::Int32Array>(env, r.offsets));
  out.Set("stopped", typed<Napi::Uint8Array>(env, r.stopped));
  return out;
}

Napi::Object batch_value(Napi::Env env, const BatchResult& r) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("loss", typed<Napi::Float64Array>(env, r.loss));
  out.Set("logprob", typed<Napi::Float64Array>(env, r.logprob));
  out.Set("logmass", typed<Napi::Float64Array>(env, r.logmass));
  return out;
}

}  // namespace steerlab
