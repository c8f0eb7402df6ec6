#include "shared_claims.h"

#include <algorithm>

namespace haulout {

bool SharedClaims::claim(const std::string& name, const StoreUser& user) {
  return holders_.emplace(name, &user).first->second == &user;
}

void SharedClaims::release(const std::string& name, const StoreUser& user) {
  const auto found = holders_.find(name);
  if (found != holders_.end() && found->second == &user) holders_.erase(found);
}

void SharedClaims::hide(const LogReference& log, const StoreUser& user, int64_t offset) {
  hidden_.push_back({log, &user, offset, INT64_MAX});
}

void SharedClaims::reveal(const LogReference& log, const StoreUser& user, int64_t offset) {
  for (Hidden& hidden : hidden_) {
    if (hidden.user == &user && hidden.from == offset && hidden.log.lock() == log) hidden.until = std::min(hidden.until, log->end_offset());
  }
  for (LogListener* listener : log->listeners) listener->log_changed();
}

void SharedClaims::end(const StoreUser& user) {
  std::erase_if(holders_, [&](const auto& holder) { return holder.second == &user; });
  const std::vector<Hidden> all = hidden_;
  for (const Hidden& hidden : all) {
    if (hidden.user != &user) continue;
    if (const LogReference log = hidden.log.lock()) reveal(log, user, hidden.from);
  }
  // Another user may come to lie where this one was.
  for (Hidden& hidden : hidden_) {
    if (hidden.user == &user) hidden.user = nullptr;
  }
}

int64_t SharedClaims::visible_end(const SegmentLog& log, const StoreUser& user) {
  int64_t end = log.committed_end_offset();
  if (hidden_.empty()) return end;
  std::erase_if(hidden_, [&](const Hidden& hidden) {
    const LogReference held = hidden.log.lock();
    return held == nullptr || held->committed_end_offset() >= hidden.until;
  });
  for (const Hidden& hidden : hidden_) {
    if (hidden.user != &user && hidden.log.lock().get() == &log) end = std::min(end, hidden.from);
  }
  return end;
}

}  // namespace haulout
