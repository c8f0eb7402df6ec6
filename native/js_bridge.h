// Between JavaScript and the engine: the only part that knows both. src/binding.ts describes the functions.
//
// Every store has one bridge, with a few handles on the event loop: the ring's eventfd (io_uring) or an async handle (threads) wakes it, and
// prepare and check handles end a turn in which something was appended. What completed is passed to JavaScript in one call per
// wake-up. The handles keep the loop alive only while something is under way.
//
// A bridge lives until its store is closed, or its environment ends: then it waits for what is under way, because the kernel
// still uses that memory.
#pragma once

#include <napi.h>

namespace haulout {

Napi::Object export_bridge(Napi::Env env, Napi::Object exports);

}  // namespace haulout
