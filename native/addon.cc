// The addon's entry: no globals, nothing shared between the threads that load it.
#include "js_bridge.h"

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) { return haulout::export_bridge(env, exports); }

}  // namespace

NODE_API_MODULE(haulout, initialise)
