// The one place that includes napi.h, and how errors cross: Error{code, message} <-> JS Error with `code`.
#pragma once
#define NODE_ADDON_API_DISABLE_DEPRECATED
#include <napi.h>

#include <new>
#include <string>

#include "error.h"

namespace steerlab {

inline Napi::Error js_error(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

// What a C++ exception is called in JS.
struct Failure {
  std::string code, message;
};

inline Failure failure_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& e) {
    return {e.code, e.what()};
  } catch (const std::bad_alloc&) {
    return {"out-of-memory", "The machine has not enough free memory for this call. Use smaller batches or a smaller model."};
  } catch (const std::exception& e) {
    return {"internal", e.what()};
  } catch (...) {
    return {"internal", "An unknown native failure."};
  }
}

// Runs `body` and turns C++ exceptions into JS ones: every function of the binding goes through it.
template <typename Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    const Failure f = failure_of(std::current_exception());
    throw js_error(env, f.code, f.message);
  }
}

}  // namespace steerlab
