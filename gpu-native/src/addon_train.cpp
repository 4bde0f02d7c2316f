// The trainer's functions of the binding.
#include "addon.h"
#include "addon_call.h"
#include "addon_convert.h"

namespace steerlab {
namespace {

struct TrainerCall {
  std::shared_ptr<ModelBox> box;
  std::shared_ptr<Pending<Trainer>> pending;
  DType act() const { return box->engine()->options().dtype; }
};

TrainerCall trainer_of(const Napi::CallbackInfo& call) {
  TrainerHandle& handle = live(unwrap<TrainerHandle>(call[0]));
  return {handle.box, handle.content};
}

int64_t step_number(const Napi::Value& v) {
  const double d = v.ToNumber().DoubleValue();
  if (!(d >= 1 && d <= 4294967295.0) || d != static_cast<double>(static_cast<int64_t>(d)))
    throw Error("bad-request", "Expected an integer step >= 1 but received " + v.ToString().Utf8Value() + ".");
  return static_cast<int64_t>(d);
}

Napi::Value create_trainer(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = unwrap<ModelHandle>(call[0]).box;
    live(box);
    const TrainerOptions options = read_trainer_options(call[1].As<Napi::Object>());
    auto initial = std::make_shared<std::vector<double>>(read_master(call[2], "initial"));
    const int64_t count = flat_layout(box->config, options.r, options.targets).count;
    if (count != static_cast<int64_t>(initial->size()))
      throw Error("bad-request", "Expected " + std::to_string(count) + " numbers for initial but received " + std::to_string(initial->size()) + ".");
    if (!(options.dropout >= 0 && options.dropout < 1)) throw Error("bad-request", "Expected 0 <= dropout < 1.");
    const int64_t bytes = 4 * count * static_cast<int64_t>(bytes_of(box->engine()->options().dtype == DType::F64 ? DType::F64 : DType::F32));
    return wrap_pending<Trainer>(env, box, bytes, [box, options, initial] { return std::make_shared<Trainer>(box->model, options, *initial); });
  });
}

Napi::Value trainer_layout(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const FlatLayout layout = flat_layout(read_config(call[0].As<Napi::Object>()), call[1].ToNumber().Int32Value(), read_targets(call[2]));
    Napi::Array out = Napi::Array::New(env, layout.tensors.size());
    for (size_t i = 0; i < layout.tensors.size(); ++i) {
      const FlatTensor& t = layout.tensors[i];
      Napi::Object o = Napi::Object::New(env);
      o.Set("name", Napi::String::New(env, flat_name(t)));
      o.Set("layer", Napi::Number::New(env, t.layer));
      o.Set("module", Napi::String::New(env, kProjectionInfo[static_cast<size_t>(t.projection)].name));
      o.Set("which", Napi::String::New(env, t.is_b ? "B" : "A"));
      Napi::Array shape = Napi::Array::New(env, 2);
      shape.Set(0u, Napi::Number::New(env, t.rows));
      shape.Set(1u, Napi::Number::New(env, t.cols));
      o.Set("shape", shape);
      o.Set("offset", Napi::Number::New(env, static_cast<double>(t.offset)));
      out.Set(static_cast<uint32_t>(i), o);
    }
    return out;
  });
}

// The three calls on a batch differ in what they run and what they add to the result.
Napi::Value batch_call(const Napi::CallbackInfo& call, const Napi::Value& job, std::function<BatchResult(Trainer&, const TrainBatch&, const Job&)> run,
                       std::function<void(Napi::Env, Napi::Object, const BatchResult&, DType)> add) {
  const TrainerCall t = trainer_of(call);
  auto batch = std::make_shared<TrainBatch>(read_batch(call[1].As<Napi::Object>()));
  check_batch(*batch, t.box->config);
  std::shared_ptr<Pending<Adapter>> context;
  const Napi::Value given = call[1].As<Napi::Object>().Get("contextAdapter");
  if (!given.IsUndefined() && !given.IsNull()) {
    AdapterHandle& handle = live(unwrap<AdapterHandle>(given));
    if (handle.box != t.box) throw Error("bad-handle", "Expected an adapter of this model for contextAdapter but received one of another model.");
    context = handle.content;
  }
  auto result = std::make_shared<BatchResult>();
  return start_call(
      call.Env(), t.box->engine(), job,
      [t, batch, context, result, run = std::move(run)](const Job& running) {
        if (context) batch->context_adapter = context->get();
        *result = run(*t.pending->get(), *batch, running);
        batch->context_adapter.reset();
      },
      [t, result, add = std::move(add)](Napi::Env finishing) -> Napi::Value {
        Napi::Object out = batch_value(finishing, *result);
        if (add) add(finishing, out, *result, t.act());
        return out;
      });
}

Napi::Value train_step(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const int64_t step = step_number(call[2]);
    const double lr = call[3].ToNumber().DoubleValue();
    if (!(lr >= 0)) throw Error("bad-request", "Expected lr >= 0 but received " + call[3].ToString().Utf8Value() + ".");
    return batch_call(
        call, call[4], [step, lr](Trainer& t, const TrainBatch& b, const Job& job) { return t.step(b, step, lr, job); },
        [](Napi::Env env, Napi::Object out, const BatchResult& r, DType) { out.Set("gradNorm", Napi::Number::New(env, r.grad_norm)); });
  });
}

Napi::Value evaluate(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    return batch_call(call, call[2], [](Trainer& t, const TrainBatch& b, const Job& job) { return t.evaluate(b, job); }, nullptr);
  });
}

Napi::Value gradients(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const int64_t step = step_number(call[2]);
    return batch_call(
        call, call[3], [step](Trainer& t, const TrainBatch& b, const Job& job) { return t.gradients(b, step, job); },
        [](Napi::Env env, Napi::Object out, const BatchResult& r, DType act) { out.Set("gradients", master_value(env, r.gradients, act)); });
  });
}

Napi::Value trainer_state(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const TrainerCall t = trainer_of(call);
    auto state = std::make_shared<Trainer::State>();
    return start_call(
        env, t.box->engine(), env.Undefined(), [t, state](const Job&) { *state = t.pending->get()->state(); },
        [t, state](Napi::Env finishing) -> Napi::Value {
          Napi::Object out = Napi::Object::New(finishing);
          out.Set("params", master_value(finishing, state->params, t.act()));
          out.Set("m", master_value(finishing, state->m, t.act()));
          out.Set("v", master_value(finishing, state->v, t.act()));
          return out;
        });
  });
}

Napi::Value set_trainer_state(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const TrainerCall t = trainer_of(call);
    const Napi::Object o = call[1].As<Napi::Object>();
    auto state = std::make_shared<Trainer::State>();
    state->params = read_master(o.Get("params"), "params");
    state->m = read_master(o.Get("m"), "m");
    state->v = read_master(o.Get("v"), "v");
    return start_call(
        env, t.box->engine(), env.Undefined(), [t, state](const Job&) { t.pending->get()->set_state(*state); },
        [](Napi::Env finishing) -> Napi::Value { return finishing.Undefined(); });
  });
}

Napi::Value trainer_adapter(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    TrainerHandle& handle = live(unwrap<TrainerHandle>(call[0]));
    const TrainerCall t{handle.box, handle.content};
    return wrap_pending<Adapter>(env, t.box, handle.external_bytes / 4, [t] { return t.pending->get()->snapshot(); });
  });
}

Napi::Value dispose_trainer(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    unwrap<TrainerHandle>(call[0]).drop(call.Env());
    return call.Env().Undefined();
  });
}

}  // namespace

void add_trainer_functions(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("createTrainer", create_trainer);
  add("trainerLayout", trainer_layout);
  add("trainStep", train_step);
  add("evaluate", evaluate);
  add("gradients", gradients);
  add("trainerState", trainer_state);
  add("setTrainerState", set_trainer_state);
  add("trainerAdapter", trainer_adapter);
  add("disposeTrainer", dispose_trainer);
}

}  // namespace steerlab
