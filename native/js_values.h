// What the engine returns, as JavaScript values.
#pragma once

#include <napi.h>

#include "log_reader.h"

namespace haulout {

// A worker thread that was told to end runs no JavaScript any more, while its event loop still turns.
bool runs_javascript(Napi::Env env);

Napi::Value undefined(Napi::Env env);
Napi::Value to_js(Napi::Env env, const Error& error);
Napi::Value to_js(Napi::Env env, const ReadOutcome& outcome);
Napi::Value to_js(Napi::Env env, const std::optional<TimestampOutcome>& outcome);

// Throws an Error whose code is a `LogErrorCode`.
void throw_error(Napi::Env env, const Error& error);

}  // namespace haulout
