// Between JavaScript and the sockets (sockets.h), beside js_bridge.h: src/binding.ts describes the functions.
//
// One poll handle of the event loop stands for all listeners and connections of an owner. What happened since the last wake-up is put
// into an array that JavaScript shares, and told in one call. Memory that is sent is kept by JavaScript until it is told that it has left.
#pragma once

#include <napi.h>

namespace haulout {

void export_sockets(Napi::Env env, Napi::Object exports);

}  // namespace haulout
